"""Conversations rendered, tokenized and masked by Transformers: what @slayer/data must give for the same.

    python chat_masks.py --out ../../packages/data/test/fixtures/chat.json

For each of the tokenizers in packages/data/test/fixtures (see tokenizer_ids.py), each template and each conversation: the text of
apply_chat_template, its ids, and the assistant's mask (return_assistant_tokens_mask). A template has two spellings that render alike:
`marked` with {% generation %} gives the mask; `plain` is what most models ship. In `loose` a space after the turn belongs to the template.
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


TEMPLATES = {"lines": spelled(LINES), "inst": spelled(INST), "loose": spelled(LOOSE)}


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


def cases():
    for name in TOKENIZERS:
        config = json.loads((FIXTURES / name / "tokenizer_config.json").read_text())
        tokens = {key: value for key, value in config.items() if key.endswith("_token")}
        # Ids stay the same; with trimmed offsets Transformers finds no token where the assistant's text begins with white space.
        described = (FIXTURES / name / "tokenizer.json").read_text().replace('"trim_offsets":true', '"trim_offsets":false')
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(described), **tokens)
        for template, spellings in TEMPLATES.items():
            for i, messages in enumerate(CONVERSATIONS):
                text = tokenizer.apply_chat_template(messages, chat_template=spellings["marked"], tokenize=False)
                plain = tokenizer.apply_chat_template(messages, chat_template=spellings["plain"], tokenize=False)
                assert text == plain, (name, template, text, plain)
                out = tokenizer.apply_chat_template(messages, chat_template=spellings["marked"], tokenize=True, return_dict=True,
                                                    return_assistant_tokens_mask=True, add_special_tokens=False)
                assert out["input_ids"] == tokenizer(text, add_special_tokens=False)["input_ids"]
                mask = "".join(map(str, out["assistant_masks"]))
                yield dict(tokenizer=name, tokens=tokens, template=template, conversation=i, text=text, ids=out["input_ids"], mask=mask)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    provenance = dict(command="python tools/oracle/chat_masks.py --out packages/data/test/fixtures/chat.json", transformers=transformers.__version__)
    body = dict(provenance=provenance, templates=TEMPLATES, conversations=CONVERSATIONS, cases=list(cases()))
    lines = ",\n".join(json.dumps(case) for case in body.pop("cases"))
    parser.parse_args().out.write_text(json.dumps(body, indent=1)[:-2] + ',\n "cases": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
