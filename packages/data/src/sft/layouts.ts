import { isObject } from "../tokenizer/format.js";
import type { Parsed } from "../sources/records.js";

/**
 * One turn of a conversation, as chat templates take it. Fields beside these two are passed on to the template, such as `tool_calls`,
 * which alone may stand in place of a content.
 */
export interface Message {
  readonly role: string;
  readonly content?: string | null;
  readonly [field: string]: unknown;
}

/** What a chat template is given. */
export interface Conversation {
  readonly messages: readonly Message[];
  /** Descriptions of functions that may be called, as JSON schemas; null where the record has none. */
  readonly tools: readonly Record<string, unknown>[] | null;
}

/**
 * How a record holds a conversation. "openai": `messages` of `role` and `content`. "sharegpt": `conversations` of `from` (human, gpt,
 * system, tool) and `value`, and `system` if there is one. "alpaca": `instruction`, `input` if there is one (put below it),
 * `output`; earlier turns in `history` as pairs, and `system`. "auto": the first of these whose fields are there. With each, `tools` may
 * be a list of functions' descriptions, or that list as JSON.
 */
export type Layout = "auto" | "openai" | "sharegpt" | "alpaca";

/** Fields that any of the layouts uses. */
export const LAYOUT_FIELDS = [
  "messages",
  "conversations",
  "system",
  "instruction",
  "input",
  "output",
  "history",
  "tools",
] as const;

const SHAREGPT_ROLES: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  assistant: "assistant",
  system: "system",
  tool: "tool",
  observation: "tool",
};

/** The conversation of a record, up to its last turn of the assistant; a reason where there is none to learn from. */
export function conversationOf(record: Record<string, unknown>, layout: Layout): Parsed<Conversation> {
  const parsed = read(record, layout);
  if ("reason" in parsed) return parsed;
  const last = parsed.value.findLastIndex(({ role }) => role === "assistant");
  if (last < 0) return { reason: "no turn of the assistant" };
  const tools = toolsOf(record.tools);
  return "reason" in tools ? tools : { value: { messages: parsed.value.slice(0, last + 1), tools: tools.value } };
}

/** Some data sets hold them as JSON, since columns want one type. */
function toolsOf(tools: unknown): Parsed<Conversation["tools"]> {
  if (tools === undefined || tools === null) return { value: null };
  let list = tools;
  if (typeof tools === "string") {
    try {
      list = JSON.parse(tools);
    } catch {
      return { reason: '"tools" is not JSON' };
    }
  }
  const isRight = Array.isArray(list) && list.every(isObject);
  return isRight ? { value: list as Record<string, unknown>[] } : { reason: '"tools" is not a list of objects' };
}

function read(record: Record<string, unknown>, layout: Layout): Parsed<Message[]> {
  const has = (field: string): boolean => Object.hasOwn(record, field) && record[field] !== null;
  switch (layout) {
    case "openai":
      return ofOpenAi(record.messages);
    case "sharegpt":
      return ofShareGpt(record.conversations, record.system);
    case "alpaca":
      return ofAlpaca(record);
    case "auto":
      if (has("messages")) return ofOpenAi(record.messages);
      if (has("conversations")) return ofShareGpt(record.conversations, record.system);
      if (has("instruction") && has("output")) return ofAlpaca(record);
      return { reason: "no conversation: expected messages, conversations, or instruction and output" };
    default:
      return layout satisfies never;
  }
}

function ofOpenAi(messages: unknown): Parsed<Message[]> {
  if (!Array.isArray(messages)) return { reason: '"messages" is not a list' };
  const found: Message[] = [];
  for (const [i, message] of messages.entries()) {
    if (!isObject(message) || typeof message.role !== "string") return { reason: `messages[${i}] has no role` };
    const { role } = message;
    const calls = Array.isArray(message.tool_calls) && message.tool_calls.length > 0;
    if (calls && (message.content === undefined || message.content === null)) {
      found.push({ ...message, role });
      continue;
    }
    const content = textOf(message.content);
    if (content === undefined) return { reason: `messages[${i}].content is not text` };
    found.push({ ...message, role, content });
  }
  return { value: found };
}

/** Content is text, or a list of parts of which each is text. */
function textOf(content: unknown): string | undefined {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return undefined;
  const parts = content.map((part: unknown) => (isObject(part) && part.type === "text" ? part.text : undefined));
  return parts.every((part) => typeof part === "string") ? parts.join("") : undefined;
}

function ofShareGpt(turns: unknown, system: unknown): Parsed<Message[]> {
  if (!Array.isArray(turns)) return { reason: '"conversations" is not a list' };
  const found: Message[] = systemTurn(system);
  for (const [i, turn] of turns.entries()) {
    const from = isObject(turn) ? (turn.from ?? turn.role) : undefined;
    const value = isObject(turn) ? (turn.value ?? turn.content) : undefined;
    const role = typeof from === "string" && Object.hasOwn(SHAREGPT_ROLES, from) ? SHAREGPT_ROLES[from] : undefined;
    if (role === undefined)
      return { reason: `conversations[${i}].from: expected human, gpt or system, found ${JSON.stringify(from)}` };
    if (typeof value !== "string") return { reason: `conversations[${i}].value is not text` };
    found.push({ role, content: value });
  }
  return { value: found };
}

function ofAlpaca({ instruction, input, output, history, system }: Record<string, unknown>): Parsed<Message[]> {
  if (typeof instruction !== "string") return { reason: '"instruction" is not text' };
  if (typeof output !== "string") return { reason: '"output" is not text' };
  if (input !== undefined && input !== null && typeof input !== "string") return { reason: '"input" is not text' };
  const found: Message[] = systemTurn(system);
  for (const pair of Array.isArray(history) ? (history as unknown[]) : []) {
    const isPair = Array.isArray(pair) && pair.length === 2 && pair.every((text) => typeof text === "string");
    if (!isPair) return { reason: '"history" is not a list of pairs of texts' };
    const [question, answer] = pair as [string, string];
    found.push({ role: "user", content: question }, { role: "assistant", content: answer });
  }
  found.push({ role: "user", content: input ? `${instruction}\n${input}` : instruction });
  found.push({ role: "assistant", content: output });
  return { value: found };
}

function systemTurn(system: unknown): Message[] {
  return typeof system === "string" && system !== "" ? [{ role: "system", content: system }] : [];
}
