import { leaves, type TokenizerJson } from "./format.js";

/** True where cutting the normalized text before each run of ▁ cannot change an id: no merge makes a token with x▁ in it. */
export function wordsAreIndependent({ model, pre_tokenizer }: TokenizerJson): boolean {
  const isWhole = leaves(pre_tokenizer, "pre_tokenizer").every(({ type }) => type === "Metaspace");
  const isPlain = model.ignore_merges !== true && !model.continuing_subword_prefix && !model.end_of_word_suffix;
  return isWhole && isPlain && !model.merges.some((merge) => /[^▁]▁/u.test(mergedToken(merge)));
}

function mergedToken(merge: string | readonly [string, string]): string {
  const [left = "", right = ""] = typeof merge === "string" ? merge.split(" ", 2) : merge;
  return left + right;
}
