import { Tokenizer } from "@slayer/data";
import { describe, expect, it } from "vitest";
import { ChatTemplate } from "../src/sft/chat-template.js";
import { encodeChat } from "../src/sft/encode-chat.js";
import { type Conversation, conversationOf, type Layout, type Message } from "../src/sft/layouts.js";
import { fixtures, readJson } from "./fixtures.js";

interface Case {
  tokenizer: string;
  tokens: Record<string, string>;
  template: string;
  conversation: number;
  text: string;
  ids: number[];
  mask: string;
}
interface Fixture {
  templates: Record<string, { marked: string; plain: string }>;
  conversations: Message[][];
  cases: Case[];
  tool_templates: Record<string, { marked: string; plain: string }>;
  tool_conversations: Conversation[];
  tool_cases: Case[];
}
const fixture = readJson<Fixture>("chat.json");
const { templates, conversations, cases } = fixture;
const withoutTools = (messages: readonly Message[]): Conversation => ({ messages, tools: null });

/** "1" for each token that is scored. */
const maskOf = (tokens: Int32Array): string => Array.from(tokens, (token) => (token < 0 ? "0" : "1")).join("");

describe("conversations give the text, ids and mask of Transformers' apply_chat_template", async () => {
  const names = [...new Set(cases.map(({ tokenizer }) => tokenizer))];
  const tokenizers = new Map(
    await Promise.all(names.map(async (name) => [name, await Tokenizer.load(fixtures + name)] as const)),
  );

  const check = (
    { tokenizer, tokens, template, text, ids, mask, conversation: index }: Case,
    source: string,
    conversation: Conversation,
  ): void => {
    const where = `${tokenizer} ${template} ${index}`;
    const chat = new ChatTemplate({ template: source, tokens });
    const rendered = chat.render(conversation);
    expect("text" in rendered ? rendered.text : rendered.reason, where).toBe(text);
    const found = encodeChat(conversation, chat, tokenizers.get(tokenizer)!) as Int32Array;
    expect(
      Array.from(found, (token) => (token < 0 ? ~token : token)),
      where,
    ).toEqual(ids);
    expect(withoutByteTails(maskOf(found), ids, tokenizers.get(tokenizer)!), where).toBe(
      withoutByteTails(mask, ids, tokenizers.get(tokenizer)!),
    );
  };

  it.each(["marked", "plain"] as const)(
    "%s templates, 4 tokenizers, 5 conversations (of a last character spelled in bytes all are scored; Transformers takes the first)",
    (spelling) => {
      for (const one of cases) {
        check(one, templates[one.template]![spelling], withoutTools(conversations[one.conversation]!));
      }
    },
  );

  it.each(["marked", "plain"] as const)(
    "%s templates that show tools and calls, 2 tokenizers, 5 conversations as records hold them",
    (spelling) => {
      expect(fixture.tool_cases).toHaveLength(18);
      for (const one of fixture.tool_cases) {
        const record = fixture.tool_conversations[one.conversation]! as unknown as Record<string, unknown>;
        for (const tools of [record.tools, record.tools && JSON.stringify(record.tools)]) {
          const parsed = conversationOf({ ...record, tools }, "auto") as { value: Conversation };
          check(one, fixture.tool_templates[one.template]![spelling], parsed.value);
        }
      }
    },
  );

  /** The mask with a dot for each token that only continues a character. */
  function withoutByteTails(mask: string, ids: number[], tokenizer: Tokenizer): string {
    const stream = tokenizer.decodeStream();
    let isWhole = true;
    return Array.from(mask, (bit, i) => {
      const isTail = !isWhole;
      isWhole = stream.push(ids[i]!) !== "" || tokenizer.decode([ids[i]!]).trim() === "";
      return isTail ? "." : bit;
    }).join("");
  }
});

describe("chat templates", () => {
  const render = (template: string, messages: Message[]): unknown =>
    new ChatTemplate({ template, tokens: {} }).render(withoutTools(messages));
  const talk: Message[] = [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
    { role: "user", content: "c" },
    { role: "assistant", content: "d" },
  ];

  it("one that changes earlier text has no certain mask, and says so", () => {
    expect(render("{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}", talk)).toEqual({
      reason: expect.stringContaining("changes earlier text when turn 2 is added"),
    });
  });

  it("one that refuses a conversation gives the reason; one that is no Jinja is an error", () => {
    expect(render("{{ raise_exception('no systems') }}", talk)).toEqual({ reason: "the chat template: no systems" });
    expect(() => new ChatTemplate({ template: "{% for %}", tokens: {} })).toThrow(/the chat template cannot be read/);
  });

  it("nothing of the process can be reached, and the date is always the same", () => {
    const probes =
      "{{ process }}|{{ global }}|{{ globalThis }}|{{ require }}|{{ messages.constructor }}|{{ date_string }}|{{ strftime_now is defined }}";
    const found = render(`{% for m in messages %}{% endfor %}${probes}`, [{ role: "user", content: "x" }]) as {
      text: string;
    };
    expect(found.text).toBe("|||||26 Jul 2024|false");
  });

  it("a conversation that holds the marks themselves is left out", () => {
    const template = "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}";
    expect(render(template, [{ role: "assistant", content: "a\uF8F1b" }])).toEqual({
      reason: expect.stringContaining("U+F8F0"),
    });
  });
});

describe("layouts", () => {
  const expected = [
    { role: "system", content: "s" },
    { role: "user", content: "q" },
    { role: "assistant", content: "a" },
  ];

  it.each([
    ["openai", { messages: expected }],
    ["openai", { messages: expected.map((m) => ({ ...m, content: [{ type: "text", text: m.content }] })) }],
    ["openai", { messages: [...expected, { role: "user", content: "a turn that nobody answers" }] }],
    [
      "sharegpt",
      {
        conversations: [
          { from: "human", value: "q" },
          { from: "gpt", value: "a" },
        ],
        system: "s",
      },
    ],
    [
      "sharegpt",
      {
        conversations: [
          { from: "system", value: "s" },
          { from: "user", value: "q" },
          { from: "assistant", value: "a" },
        ],
      },
    ],
    ["alpaca", { instruction: "q", input: "", output: "a", system: "s" }],
  ])("%s: %j", (layout, record) => {
    const value = withoutTools(expected);
    expect(conversationOf(record, layout as Layout)).toEqual({ value });
    expect(conversationOf(record, "auto")).toEqual({ value });
  });

  it("Alpaca: the input stands below the instruction, earlier turns before", () => {
    const record = { instruction: "add", input: "1 2", output: "3", history: [["hi", "ho"]] };
    const value = withoutTools([
      { role: "user", content: "hi" },
      { role: "assistant", content: "ho" },
      { role: "user", content: "add\n1 2" },
      { role: "assistant", content: "3" },
    ]);
    expect(conversationOf(record, "auto")).toEqual({ value });
  });

  it.each([
    [{ messages: [{ role: "user", content: "q" }] }, "no turn of the assistant"],
    [{ messages: [{ role: "assistant", content: [{ type: "image" }] }] }, "messages[0].content is not text"],
    [{ messages: ["q"] }, "messages[0] has no role"],
    [{ messages: {} }, '"messages" is not a list'],
    [
      { conversations: [{ from: "robot", value: "x" }] },
      'conversations[0].from: expected human, gpt or system, found "robot"',
    ],
    [
      { conversations: [{ from: "__proto__", value: "x" }] },
      'conversations[0].from: expected human, gpt or system, found "__proto__"',
    ],
    [{ conversations: [{ from: "gpt" }] }, "conversations[0].value is not text"],
    [{ instruction: "q", output: 3 }, '"output" is not text'],
    [{ instruction: "q", output: "a", history: ["x"] }, '"history" is not a list of pairs of texts'],
    [{ instruction: "q", output: "a", tools: "[" }, '"tools" is not JSON'],
    [{ instruction: "q", output: "a", tools: ["add"] }, '"tools" is not a list of objects'],
    [{ messages: [{ role: "assistant", content: null, tool_calls: [] }] }, "messages[0].content is not text"],
    [{ text: "x" }, "no conversation: expected messages, conversations, or instruction and output"],
  ])("refused: %j", (record, reason) => expect(conversationOf(record, "auto")).toEqual({ reason }));
});
