import { byteToChar } from "../bytes.js";
import { leaves, type TokenizerJson } from "../format.js";
import { PairTable } from "./pairs.js";

/** How the first symbols of a word are found, and how they merge. */
export interface FastModel {
  readonly pairs: PairTable;
  /** With ignore_merges: a word that is a token is that token. */
  readonly wholeWords: ReadonlyMap<string, number> | undefined;
  /** Byte-level: the id of each byte. With byte fallback: of each <0x00>. */
  readonly byteIds: Int32Array;
  /** The id of a character, where characters and not bytes are the first symbols. */
  readonly charIds: ReadonlyMap<string, number> | undefined;
}

/**
 * The model for fast encoding, or undefined where the file has something that only the library handles: a vocabulary that lacks
 * single bytes, merges of unknown tokens, prefixes and suffixes of subwords.
 */
export function fastModel({ model, pre_tokenizer, added_tokens }: TokenizerJson): FastModel | undefined {
  const vocab = new Map(Object.entries(model.vocab));
  if (model.continuing_subword_prefix || model.end_of_word_suffix) return undefined;
  if (added_tokens.some(({ content, id }) => (vocab.get(content) ?? id) !== id)) return undefined;
  const merges = idsOfMerges(model.merges, vocab);
  if (merges === undefined) return undefined;

  const isByteLevel = leaves(pre_tokenizer, "pre_tokenizer").some(({ type }) => type === "ByteLevel");
  if (!isByteLevel && model.byte_fallback !== true) return undefined;
  const byteIds = Int32Array.from({ length: 256 }, (_, byte) => {
    const token = isByteLevel ? byteToChar[byte]! : `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
    return vocab.get(token) ?? -1;
  });
  if (byteIds.includes(-1)) return undefined;
  return {
    pairs: new PairTable(merges),
    wholeWords: model.ignore_merges === true ? vocab : undefined,
    byteIds,
    charIds: isByteLevel ? undefined : new Map([...vocab].filter(([token]) => isOneCharacter(token))),
  };
}

function isOneCharacter(token: string): boolean {
  return token.length === 1 || (token.length === 2 && token.codePointAt(0)! > 0xffff);
}

function idsOfMerges(
  merges: TokenizerJson["model"]["merges"],
  vocab: ReadonlyMap<string, number>,
): [number, number, number][] | undefined {
  const found: [number, number, number][] = [];
  for (const merge of merges) {
    const [left = "", right = ""] = typeof merge === "string" ? merge.split(" ", 2) : merge;
    const ids = [vocab.get(left), vocab.get(right), vocab.get(left + right)];
    if (ids.includes(undefined)) return undefined;
    found.push(ids as [number, number, number]);
  }
  return found;
}
