import { createHash } from "node:crypto";
import { chatTemplateHash, type ChatTemplateSource } from "../sft/chat-template.js";
import { conversationOf, LAYOUT_FIELDS, type Layout } from "../sft/layouts.js";
import { formatOf } from "../sources/format.js";
import { type RecordOptions, type RecordParser, textParser } from "../sources/records.js";
import type { Item } from "./encode-items.js";

/** What is tokenized, and how. */
export interface SourceSpec {
  readonly files: readonly string[];
  /** Texts, in a field of their records; or conversations. */
  readonly read:
    | { readonly kind: "text"; readonly field: string }
    | { readonly kind: "chat"; readonly layout: Layout; readonly template: ChatTemplateSource };
  readonly format?: NonNullable<RecordOptions["format"]>;
  /** The share of documents (0 … 1), chosen by the hash of their text, that is kept apart. Texts only. */
  readonly heldOut?: number;
}

/** Changes whenever the same source would give other tokens. */
const VERSION = 1;

/**
 * A name for the tokens of a source: a hash of the files' bytes (`contents`), of the tokenizer and of everything else that they
 * depend on. Of a file's name only what says how it is read.
 */
export function sourceKey(
  { files, read, format = "auto", heldOut = 0 }: SourceSpec,
  contents: readonly string[],
  tokenizerHash: string,
): string {
  const what = read.kind === "text" ? ["text", read.field] : ["chat 2", read.layout, chatTemplateHash(read.template)];
  const parts = files.map((file, i) => [formatOf(file, format), contents[i]]);
  const all = JSON.stringify([VERSION, tokenizerHash, what, heldOut, parts]);
  return createHash("sha256").update(all).digest("hex").slice(0, 32);
}

export function parserOf({ read }: SourceSpec): RecordParser<Item> {
  if (read.kind === "text") return textParser(read.field);
  return { columns: LAYOUT_FIELDS, ofRecord: (record) => conversationOf(record, read.layout) };
}

/** Characters of an item, roughly. */
export function sizeOf(item: Item): number {
  return typeof item === "string" ? item.length : JSON.stringify(item).length;
}
