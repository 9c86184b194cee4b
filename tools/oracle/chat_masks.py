"""Conversations rendered, tokenized and masked by Transformers: what @slayer/data must give for the same.

    python chat_masks.py --out ../../packages/data/test/fixtures/chat.json

For each of the tokenizers in packages/data/test/fixtures (see tokenizer_ids.py), each template and each conversation: the text of
apply_chat_template, its ids, and the assistant's mask (return_assistant_tokens_mask). A template has two spellings that render alike:
`marked` with {% generation %} gives the mask; `plain` is what most models ship. In `loose` a space after the turn belongs to the template.

`tool_cases`: the same of conversations with tools and calls, for two templates and two tokenizers; some have no tools, calls without text, arguments
that are text, or an empty list.
"""

import argparse
import json
from pathlib import Path

import transformers
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

FIXTURES = Path(__file__).resolve().parents[2] / "packages/data/test/fixtures"
TOKENIZERS = ["llama2-legacy", "llama2-metaspace", "gpt2-prefix", "llama3"]

LINES = """{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<think>' + message.role + '\\n' }}{GEN}
        {{- message.content + eos_token }}{END}
        {{- '\\n' }}
    {%- else %}
        {{- '<think>' + message['role'] + '\\n' + message['content'] | trim + eos_token + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<think>assistant\\n' }}
{%- endif %}"""
INST = """{{ bos_token }}{% set ns = namespace(system='') %}{% for message in messages %}{% if message['role'] == 'system' %}\
{% set ns.system = '<<SYS>> ' + message['content'] + ' <</SYS>> ' %}{% elif message['role'] == 'user' %}\
{{ '[INST] ' + (ns.system if loop.index0 <= 1 else '') + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}\
{GEN}{{ ' ' + message['content'] | trim + eos_token }}{END}{% else %}{{ raise_exception('roles: ' + message['role']) }}{% endif %}{% endfor %}"""
LOOSE = """{% for message in messages %}
{% if message.role == 'assistant' %}
Assistant: {GEN}{{ message.content }}{END} 
{% else %}
{{ message.role | title }}: {{ message.content }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}Assistant: {% endif %}"""


def spelled(template):
    marked = template.replace("{GEN}", "{%- generation %}" if "{%-" in template else "{% generation %}")
    marked = marked.replace("{END}", "{%- endgeneration %}" if "{%-" in template else "{% endgeneration %}")
    return dict(marked=marked, plain=template.replace("{GEN}", "").replace("{END}", ""))


CALLS = """{%- if tools is defined and tools is not none %}
    {{- '<think>system\\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\\n' }}
    {%- endif %}
    {{- 'Functions:' }}
    {%- for tool in tools %}
        {{- '\\n' + tool | tojson }}
    {%- endfor %}
    {{- eos_token + '\\n' }}
{%- elif messages[0].role == 'system' %}
    {{- '<think>system\\n' + messages[0].content + eos_token + '\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {{- '<think>assistant\\n' }}{GEN}
        {%- if message.content %}
            {{- message.content }}
        {%- endif %}
        {%- for call in message.tool_calls or [] %}
            {%- set function = call.function if call.function is defined else call %}
            {{- '<call>{"name": "' + function.name + '", "arguments": ' + function.arguments | tojson + '}' }}
        {%- endfor %}
        {{- eos_token }}{END}
        {{- '\\n' }}
    {%- elif message.role == 'tool' %}
        {{- '<think>tool' + (' ' + message.name if message.name is defined else '') + '\\n' + message.content + eos_token + '\\n' }}
    {%- elif message.role != 'system' %}
        {{- '<think>' + message.role + '\\n' + message.content + eos_token + '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<think>assistant\\n' }}
{%- endif %}"""
SPREAD = """{%- for tool in tools or [] %}
    {{- tool.function.name + '(' + tool.function.parameters.properties.keys() | join(', ') + '): ' + tool | tojson(indent=4) + '\\n' }}
{%- endfor %}
{%- if documents is defined and documents is none %}{{- 'no documents\\n' }}{%- endif %}
{%- for message in messages %}
    {%- if message.role == 'assistant' and message.tool_calls %}
        {{- 'assistant ' }}{GEN}{{- 'calls ' }}
        {%- for call in message.tool_calls %}
            {%- for name, value in call.function.arguments.items() %}
                {{- name + '=' + value | tojson(sort_keys=true) + (', ' if not loop.last else '') }}
            {%- endfor %}
            {{- '; ' if not loop.last else eos_token }}
        {%- endfor %}{END}
    {%- elif message.role == 'assistant' %}
        {{- 'assistant ' }}{GEN}{{- 'says ' + message.content + eos_token }}{END}
    {%- else %}
        {{- message.role + ' says ' + message.content }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- 'assistant ' }}
{%- endif %}"""
TEMPLATES = {"lines": spelled(LINES), "inst": spelled(INST), "loose": spelled(LOOSE)}
TOOL_TEMPLATES = {"calls": spelled(CALLS), "spread": spelled(SPREAD)}


def turns(*contents, system=None):
    roles = ["user", "assistant"]
    return ([dict(role="system", content=system)] if system else []) + [
        dict(role=roles[i % 2], content=content) for i, content in enumerate(contents)]


CONVERSATIONS = [
    turns("Bake bread?", "Yes: flour, water, salt."),
    turns("  Two\nlines ", "  indented answer\n\n", "and then?", "The end"),
    turns("What's 12345 + 1?", "12346", "And 😀 in café?", "Größe 😀😀", "</s><s>", "<tool> call", system="You are a baker."),
    turns("日本語", "你好，世界 \u00a0 x", "▁ and ▁▁", "▁▁end"),
    turns("q", "\n", "q", "a\n\n\nb"),
]


def function(name, description, **properties):
    parameters = dict(type="object", properties=properties, required=list(properties)[:1])
    return dict(type="function", function=dict(name=name, description=description, parameters=parameters))


TOOLS = [
    function("temperature", "Grad \u201eCelsius\u201c, in \u6771\u4eac too", city=dict(type="string", description='A "city"\n'),
             unit=dict(type="string", enum=["C", "F"], default=None)),
    function("add", "", terms=dict(type="array", items=dict(type="number", minimum=-1.5, maximum=1000000)), exact=dict(type="boolean", default=True)),
    function("now", "No parameters"),
]


def call(name, **arguments):
    return dict(type="function", id="call_1", function=dict(name=name, arguments=arguments))


TOOL_CONVERSATIONS = [
    dict(tools=TOOLS, messages=[
        dict(role="system", content="You can call functions."),
        dict(role="user", content="How warm is it in \u6771\u4eac?"),
        dict(role="assistant", content=None, tool_calls=[call("temperature", city="\u6771\u4eac", unit="C")]),
        dict(role="tool", name="temperature", tool_call_id="call_1", content='{"degrees": 21.5}'),
        dict(role="assistant", content="21.5 \u00b0C."),
    ]),
    dict(tools=TOOLS[1:], messages=[
        dict(role="user", content="1 + 2 and the time?"),
        dict(role="assistant", tool_calls=[call("add", terms=[1, 2.25, -3], exact=False, nested=dict(b=[], a={}, c=None)), call("now")]),
        dict(role="tool", content="3"),
        dict(role="tool", content="12:00"),
        dict(role="assistant", content="3, at noon"),
        dict(role="user", content="Thanks"),
        dict(role="assistant", content="You're welcome. </s>"),
    ]),
    dict(tools=None, messages=turns("No tools?", "None.", system="s")),
    dict(tools=[], messages=turns("An empty list?", "Yes.")),
]
# Arguments as text are passed on as they are: only a template that does not look into them renders it.
TEXT_ARGUMENTS = dict(tools=TOOLS[2:], messages=[
    dict(role="user", content="time"),
    dict(role="assistant", content="Let me see. ", tool_calls=[dict(type="function", function=dict(name="now", arguments='{"zone": "UTC"}'))]),
])


def tool_cases():
    for name in ["llama2-metaspace", "llama3"]:
        tokenizer, tokens = load(name)
        for template, spellings in TOOL_TEMPLATES.items():
            for i, given in enumerate(TOOL_CONVERSATIONS + ([TEXT_ARGUMENTS] if template == "calls" else [])):
                yield dict(tokenizer=name, tokens=tokens, template=template, conversation=i, **rendered(tokenizer, spellings, **given))


def load(name):
    config = json.loads((FIXTURES / name / "tokenizer_config.json").read_text())
    tokens = {key: value for key, value in config.items() if key.endswith("_token")}
    # Ids stay the same; with trimmed offsets Transformers finds no token where the assistant's text begins with white space.
    described = (FIXTURES / name / "tokenizer.json").read_text().replace('"trim_offsets":true', '"trim_offsets":false')
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(described), **tokens), tokens


def rendered(tokenizer, spellings, messages, tools=None):
    text = tokenizer.apply_chat_template(messages, tools=tools, chat_template=spellings["marked"], tokenize=False)
    plain = tokenizer.apply_chat_template(messages, tools=tools, chat_template=spellings["plain"], tokenize=False)
    assert text == plain, (text, plain)
    out = tokenizer.apply_chat_template(messages, tools=tools, chat_template=spellings["marked"], tokenize=True, return_dict=True,
                                        return_assistant_tokens_mask=True, add_special_tokens=False)
    assert out["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
    return dict(text=text, ids=out["input_ids"], mask="".join(map(str, out["assistant_masks"])))


def cases():
    for name in TOKENIZERS:
        tokenizer, tokens = load(name)
        for template, spellings in TEMPLATES.items():
            for i, messages in enumerate(CONVERSATIONS):
                yield dict(tokenizer=name, tokens=tokens, template=template, conversation=i, **rendered(tokenizer, spellings, messages))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    provenance = dict(command="python tools/oracle/chat_masks.py --out packages/data/test/fixtures/chat.json", transformers=transformers.__version__)
    body = dict(provenance=provenance, templates=TEMPLATES, conversations=CONVERSATIONS, tool_templates=TOOL_TEMPLATES,
                tool_conversations=TOOL_CONVERSATIONS + [TEXT_ARGUMENTS])
    lists = [f' "{key}": [\n' + ",\n".join(json.dumps(case) for case in found) + "\n]" for key, found in
             dict(cases=cases(), tool_cases=tool_cases()).items()]
    parser.parse_args().out.write_text(json.dumps(body, indent=1)[:-2] + ",\n" + ",\n".join(lists) + "}\n")


if __name__ == "__main__":
    main()
