import { type Component, leaves, type TokenizerJson } from "../format.js";
import { wordsAreIndependent } from "../words-are-independent.js";
import { gpt2WordEnd, llama3WordEnd, metaspaceWordEnd, type WordEnd } from "./words.js";

/** What is done to a piece of text between added tokens before it is cut into words. */
export interface Splitting {
  readonly wordEnd: WordEnd;
  /** The Unicode form that the text must have; other text is not for the fast path. */
  readonly form: "NFC" | "NFD" | "NFKC" | "NFKD" | undefined;
  /** Every space becomes ▁. */
  readonly metaspace: boolean;
  /** What stands before the piece: always, if it does not begin with it, or that and only for the first piece. */
  readonly prefix: "" | " " | "▁";
  readonly prefixRule: "always" | "unless-there" | "first-unless-there";
}

const LLAMA3_FAMILY =
  /^\(\?i:'s\|'t\|'re\|'ve\|'m\|'ll\|'d\)\|\[\^\\r\\n\\p\{L\}\\p\{N\}\]\?\\p\{L\}\+\|\\p\{N\}(\{1,3\})?\| \?\[\^\\s\\p\{L\}\\p\{N\}\]\+\[\\r\\n\]\*\|\\s\*\[\\r\\n\]\+\|\\s\+\(\?!\\S\)\|\\s\+$/;

/** The splitting of a tokenizer.json, or undefined where it is not one of those written by hand in words.ts. */
export function fastSplitting(json: TokenizerJson): Splitting | undefined {
  const normalizers = leaves(json.normalizer, "normalizer");
  const pretokenizers = leaves(json.pre_tokenizer, "pre_tokenizer");
  return byteLevel(normalizers, pretokenizers) ?? metaspace(json, normalizers, pretokenizers);
}

function byteLevel(normalizers: Component[], pretokenizers: Component[]): Splitting | undefined {
  const last = pretokenizers.at(-1);
  if (last?.type !== "ByteLevel" || pretokenizers.length > 2 || normalizers.length > 1) return undefined;
  const form = normalizers[0]?.type;
  if (form !== undefined && form !== "NFC" && form !== "NFD" && form !== "NFKC" && form !== "NFKD") return undefined;
  const plain = { form, metaspace: false, prefixRule: "unless-there" } as const;
  const prefix = last.add_prefix_space === true ? " " : "";
  if (pretokenizers.length === 1) {
    return last.use_regex === false ? undefined : { ...plain, prefix, wordEnd: gpt2WordEnd };
  }
  const [split] = pretokenizers;
  const regex = (split?.pattern as { Regex?: unknown } | undefined)?.Regex;
  if (split?.type !== "Split" || split.behavior !== "Isolated" || last.use_regex !== false || prefix !== "") {
    return undefined;
  }
  const match = typeof regex === "string" ? LLAMA3_FAMILY.exec(regex) : null;
  return match === null ? undefined : { ...plain, prefix, wordEnd: llama3WordEnd(match[1] === undefined ? 1 : 3) };
}

function metaspace(json: TokenizerJson, normalizers: Component[], pretokenizers: Component[]): Splitting | undefined {
  const spaces = { form: undefined, metaspace: true, prefix: "▁" } as const;
  if (pretokenizers.length === 0) {
    const [prepend, replace] = normalizers;
    const isLlama2 =
      normalizers.length === 2 &&
      prepend?.type === "Prepend" &&
      prepend.prepend === "▁" &&
      replace?.type === "Replace" &&
      (replace.pattern as { String?: unknown } | undefined)?.String === " " &&
      replace.content === "▁";
    if (!isLlama2 || !wordsAreIndependent(json)) return undefined;
    return { ...spaces, prefixRule: "always", wordEnd: metaspaceWordEnd(false, "none") };
  }
  const [first, digits] = pretokenizers;
  if (first?.type !== "Metaspace" || normalizers.length > 0 || pretokenizers.length > 2) return undefined;
  if (digits !== undefined && digits.type !== "Digits") return undefined;
  if ((first.replacement ?? "▁") !== "▁" || (first.str_rep ?? "▁") !== "▁") return undefined;
  const split = first.split !== false;
  if (!split && !wordsAreIndependent(json)) return undefined;
  const scheme = first.prepend_scheme ?? (first.add_prefix_space === false ? "never" : "always");
  if (scheme !== "always" && scheme !== "first" && scheme !== "never") return undefined;
  return {
    ...spaces,
    prefix: scheme === "never" ? "" : "▁",
    prefixRule: scheme === "first" ? "first-unless-there" : "unless-there",
    wordEnd: metaspaceWordEnd(
      split,
      digits === undefined ? "none" : digits.individual_digits === true ? "each" : "runs",
    ),
  };
}
