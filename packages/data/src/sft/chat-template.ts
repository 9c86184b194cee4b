import { createHash } from "node:crypto";
import { join } from "node:path";
import { Template } from "@huggingface/jinja";
import { DataError } from "../errors.js";
import { decodeUtf8, readSmallFile } from "../files.js";
import { isObject } from "../tokenizer/format.js";
import type { Conversation, Message } from "./layouts.js";

const MAX_TEMPLATE_BYTES = 256 * 1024;
const MAX_CONFIG_BYTES = 8 * 1024 * 1024;
/** Marks around generated text while it is rendered, from Unicode's private use area. */
const BEGIN = "\uF8F0";
const END = "\uF8F1";
/**
 * Put before a template. Data must not depend on the day: one that asks for the date gets what Llama 3 falls back to. And a range
 * is bounded: Jinja's would be an array that grows until V8 ends the process, whatever the bound on the thread's memory.
 */
const PRELUDE = '{% set strftime_now = a_name_that_is_not_set %}{% set range = bounded_range %}{{ "" }}';
const LONGEST_RANGE = 100_000;
const GENERATION = /\{%(-?)\s*(end)?generation\s*(-?)%\}/g;

/** A chat template and what it may use, as plain data. */
export interface ChatTemplateSource {
  readonly template: string;
  /** Names such as bos_token, and their texts. */
  readonly tokens: Readonly<Record<string, string>>;
}

/** Part of a text, in UTF-16 code units. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/**
 * The template of a model directory: `chat_template.jinja`, else `chat_template` of tokenizer_config.json (of several the one named
 * default); or that of `file`.
 * @throws DataError `missing-file`, `too-large`, `bad-json`, `bad-template`
 */
export async function loadChatTemplate(directory: string, file?: string): Promise<ChatTemplateSource> {
  const configFile = join(directory, "tokenizer_config.json");
  const bytes = await readSmallFile(configFile, MAX_CONFIG_BYTES);
  let config: Record<string, unknown> = {};
  if (bytes !== undefined) {
    try {
      const parsed: unknown = JSON.parse(decodeUtf8(bytes, { file: configFile }));
      if (isObject(parsed)) config = parsed;
    } catch (error) {
      if (error instanceof DataError) throw error;
      throw new DataError("bad-json", `expected JSON: ${(error as Error).message}`, { file: configFile });
    }
  }
  const own = file ?? join(directory, "chat_template.jinja");
  const found = await readSmallFile(own, MAX_TEMPLATE_BYTES);
  if (file !== undefined && found === undefined) throw new DataError("missing-file", "no such file", { file });
  const template = found === undefined ? namedTemplate(config.chat_template) : decodeUtf8(found, { file: own });
  if (template === undefined) {
    throw new DataError(
      "missing-file",
      "the model has no chat template (neither chat_template.jinja nor chat_template in tokenizer_config.json), as base models do not; give one in the recipe: chat_template: FILE",
      { file: own },
    );
  }
  if (template.length > MAX_TEMPLATE_BYTES) {
    throw new DataError("too-large", `a chat template of ${template.length} characters`, { file: configFile });
  }
  const tokens = Object.entries(config).flatMap(([name, token]) => {
    const text = isObject(token) ? token.content : token;
    return name.endsWith("_token") && typeof text === "string" ? [[name, text] as const] : [];
  });
  return { template, tokens: Object.fromEntries(tokens) };
}

/** SHA-256 in hex. */
export function chatTemplateHash({ template, tokens }: ChatTemplateSource): string {
  return createHash("sha256")
    .update(JSON.stringify([template, tokens]))
    .digest("hex");
}

/** Python's range. */
function boundedRange(first: number, end?: number, step = 1): number[] {
  const [start, stop] = end === undefined ? [0, first] : [first, end];
  const length = Math.max(0, Math.ceil((stop - start) / step));
  if (!(length <= LONGEST_RANGE)) throw new Error(`range: expected at most ${LONGEST_RANGE} numbers, found ${length}`);
  return Array.from({ length }, (_, i) => start + i * step);
}

function namedTemplate(value: unknown): string | undefined {
  if (typeof value === "string") return value;
  if (!Array.isArray(value)) return undefined;
  const named = value.find((each: unknown) => isObject(each) && each.name === "default") as
    | { template?: unknown }
    | undefined;
  return typeof named?.template === "string" ? named.template : undefined;
}

/**
 * Renders conversations, and says which part of the text the assistant wrote. A template with {% generation %} says so itself, as for
 * Transformers' `return_assistant_tokens_mask`. For any other: what the turn adds to the text before it, the generation prompt
 * included; with the end-of-turn token, which is to be learnt, but without the white space with which the template goes on.
 */
export class ChatTemplate {
  readonly #template: Template;
  readonly #isMarked: boolean;
  readonly #tokens: Readonly<Record<string, string>>;

  /** @throws DataError `bad-template` */
  constructor({ template, tokens }: ChatTemplateSource) {
    this.#tokens = tokens;
    // Blocks, not expressions, stand where the tags stood, so that white space around them is treated as Jinja does.
    const marked = template.replace(GENERATION, (_, left: string, end: string | undefined, right: string) =>
      end === undefined
        ? `{%${left} if true %}{{ "${BEGIN}" }}{% if true ${right}%}`
        : `{%${left} endif %}{{ "${END}" }}{% endif ${right}%}`,
    );
    this.#isMarked = marked !== template;
    try {
      this.#template = new Template(PRELUDE + marked);
    } catch (error) {
      throw new DataError("bad-template", `the chat template cannot be read: ${(error as Error).message}`);
    }
  }

  /** The text of a conversation, and its parts by the assistant; or why there is none. */
  render({ messages, tools }: Conversation): { text: string; spans: Span[] } | { reason: string } {
    const render = (some: readonly Message[], addGenerationPrompt: boolean): string =>
      this.#template.render({
        ...this.#tokens,
        messages: some,
        tools,
        documents: null, // defined, as in Transformers
        add_generation_prompt: addGenerationPrompt,
        date_string: "26 Jul 2024",
        bounded_range: boundedRange,
      });
    try {
      if (!this.#isMarked) return renderByTurns(messages, render);
      const given = JSON.stringify([messages, tools]);
      if (given.includes(BEGIN) || given.includes(END)) {
        return { reason: "it holds U+F8F0 or U+F8F1, which mark the assistant's text here" };
      }
      return partsOf(render(messages, false));
    } catch (error) {
      return { reason: `the chat template: ${(error as Error).message}` };
    }
  }
}

/** A text with marks, without them. */
function partsOf(marked: string): { text: string; spans: Span[] } {
  const spans: Span[] = [];
  let text = "";
  for (const [i, piece] of marked.split(BEGIN).entries()) {
    const [inside, ...outside] = i === 0 ? ["", piece] : piece.split(END);
    if (i > 0) spans.push({ start: text.length, end: text.length + inside!.length });
    text += inside! + outside.join("");
  }
  return { text, spans };
}

function renderByTurns(
  messages: readonly Message[],
  render: (messages: readonly Message[], addGenerationPrompt: boolean) => string,
): { text: string; spans: Span[] } | { reason: string } {
  const text = render(messages, false);
  const spans: Span[] = [];
  for (const [i, { role, content }] of messages.entries()) {
    if (role !== "assistant") continue;
    const before = render(messages.slice(0, i), true);
    const after = i + 1 === messages.length ? text : render(messages.slice(0, i + 1), false);
    if (!after.startsWith(before) || !text.startsWith(after)) {
      return {
        reason: `the chat template changes earlier text when turn ${i + 1} is added, so the assistant's part is not known; mark it with {% generation %} … {% endgeneration %}`,
      };
    }
    const start = before.length;
    const found = after.indexOf(content ?? "", start);
    const contentEnd = found < 0 ? start : found + (content ?? "").length;
    spans.push({ start, end: Math.max(contentEnd, after.trimEnd().length) });
  }
  return { text, spans };
}
