import { DataError } from "../errors.js";
import type { Tokenizer } from "../tokenizer/tokenizer.js";

/** Ids put around every document: BOS before it, EOS after it, both or (in mode "whole") none; they belong to the document. */
export interface Boundary {
  readonly before?: number;
  readonly after?: number;
}

/** Everything that decides which token stands where. Plain data. */
export interface PackingSettings {
  /** T, tokens per sequence. */
  readonly sequenceLength: number;
  /**
   * "concatenate" (as in the paper): sequences are cut from one long text; attention crosses documents, positions run on,
   * and the first token of a document is predicted from the one before. "documents": each document is a segment of its own
   * with positions from 0 and no target across its end; one that is cut by the end of a sequence goes on in the next as a new
   * segment. "whole": the same, but no document is cut in two: sequences are filled with documents that fit.
   */
  readonly mode: "concatenate" | "documents" | "whole";
  readonly boundary: Boundary;
  /** Per epoch: the order of documents before packing, the order of packed sequences, or both. */
  readonly shuffle: { readonly documents: boolean; readonly sequences: boolean };
  readonly seed: number;
}

/** EOS after every document where the tokenizer has one, otherwise BOS before it. */
export function boundaryOf(tokenizer: Tokenizer): Boundary {
  if (tokenizer.eosId !== undefined) return { after: tokenizer.eosId };
  if (tokenizer.bosId !== undefined) return { before: tokenizer.bosId };
  throw new DataError(
    "bad-option",
    "packing needs a token between documents, but tokenizer_config.json names no eos_token and no bos_token",
  );
}

/** A copy in one fixed order of keys, checked. @throws DataError `bad-option` */
export function checkSettings(settings: PackingSettings): PackingSettings {
  const { sequenceLength, mode, boundary, shuffle, seed } = settings;
  const expect = (name: string, isRight: boolean, wanted: string, found: unknown): void => {
    if (!isRight) throw new DataError("bad-option", `${name}: expected ${wanted}, found ${JSON.stringify(found)}`);
  };
  const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
  expect(
    "sequenceLength",
    isCount(sequenceLength) && sequenceLength > 0 && sequenceLength <= 2 ** 24,
    "1 … 2^24",
    sequenceLength,
  );
  const isMode = mode === "concatenate" || mode === "documents" || mode === "whole";
  expect("mode", isMode, '"concatenate", "documents" or "whole"', mode);
  expect("seed", isCount(seed), "an integer 0 … 2^53 - 1", seed);
  const { before, after } = boundary;
  expect(
    "boundary",
    before !== undefined || after !== undefined || mode === "whole",
    "the id of BOS before or EOS after documents",
    boundary,
  );
  for (const id of [before, after])
    expect("boundary", id === undefined || (isCount(id) && id < 2 ** 31), "a token id", id);
  return {
    sequenceLength,
    mode,
    boundary: { ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) },
    shuffle: { documents: shuffle.documents, sequences: shuffle.sequences },
    seed,
  };
}
