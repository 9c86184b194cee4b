import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { DataError } from "../errors.js";
import { writeFileAtomically } from "../files.js";
import { byteToChar } from "../tokenizer/bytes.js";
import { GPT2_SPLIT, LLAMA3_SPLIT, LLAMA3_SPLIT_SOURCE } from "../tokenizer/split-patterns.js";
import { learnMerges, type Word } from "./merges.js";

export interface TrainBpeOptions {
  /** Special tokens, 256 bytes and merges together. 256 + specials gives a plain byte vocabulary. */
  vocabSize: number;
  /** They get ids 0, 1, … and are never split. Default: BOS and EOS. */
  specialTokens?: readonly string[];
  /** Default "<|begin_of_text|>"; put before every text by the tokenizer's post-processor. `null`: none. */
  bosToken?: string | null;
  /** Default "<|end_of_text|>". `null`: none. */
  eosToken?: string | null;
  /** How text is cut into words before merging. Default "llama3", which keeps at most three digits together. */
  split?: "gpt2" | "llama3";
  /** Pairs that occur less often are not merged; then the vocabulary stays smaller than asked for. Default 2. */
  minFrequency?: number;
}

/** The two files of a tokenizer in Hugging Face format, as values for JSON.stringify. */
export interface TokenizerFiles {
  readonly tokenizerJson: object;
  readonly tokenizerConfig: Record<string, unknown>;
}

/**
 * Trains a byte-level BPE tokenizer. Deterministic: the same texts give the same file, and the same merges as the
 * BpeTrainer of Hugging Face's `tokenizers` (ties: see learnMerges).
 * @throws DataError `bad-option`
 */
export function trainBpe(texts: Iterable<string>, options: TrainBpeOptions): TokenizerFiles {
  const { vocabSize, bosToken = "<|begin_of_text|>", eosToken = "<|end_of_text|>", split = "llama3" } = options;
  const named = [bosToken, eosToken].filter((token) => token !== null);
  const specialTokens = [...new Set([...(options.specialTokens ?? []), ...named])];
  if (specialTokens.includes("")) throw new DataError("bad-option", "specialTokens: expected no empty token");
  const fewest = specialTokens.length + 256;
  if (!Number.isInteger(vocabSize) || vocabSize < fewest || vocabSize > 2 ** 22) {
    throw new DataError(
      "bad-option",
      `vocabSize: expected ${fewest} (specials and bytes) … ${2 ** 22}, found ${vocabSize}`,
    );
  }

  // Ids: specials, the byte characters in code point order, then merges in order.
  const tokens = [...specialTokens, ...byteToChar.toSorted()];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const merges = learnMerges(
    countWords(texts, split === "gpt2" ? GPT2_SPLIT : LLAMA3_SPLIT, ids),
    () => tokens.length < vocabSize,
    options.minFrequency ?? 2,
    (left, right) => {
      const token = tokens[left]! + tokens[right]!;
      const known = ids.get(token);
      if (known !== undefined) return known;
      ids.set(token, tokens.length);
      return tokens.push(token) - 1;
    },
  );
  return {
    tokenizerJson: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: specialTokens.map((content, id) => ({
        id,
        content,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      })),
      normalizer: null,
      pre_tokenizer: preTokenizer(split),
      post_processor: bosToken === null ? null : bosTemplate(bosToken, ids.get(bosToken)!),
      decoder: byteLevel(true),
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: false,
        vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
        merges: merges.map(({ left, right }) => [tokens[left], tokens[right]]),
      },
    },
    tokenizerConfig: {
      tokenizer_class: "PreTrainedTokenizerFast",
      ...(bosToken === null ? {} : { bos_token: bosToken }),
      ...(eosToken === null ? {} : { eos_token: eosToken }),
      clean_up_tokenization_spaces: false,
    },
  };
}

/** Writes tokenizer.json and tokenizer_config.json, each atomically; existing ones are replaced. */
export async function writeTokenizer(directory: string, files: TokenizerFiles): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFileAtomically(
    join(directory, "tokenizer_config.json"),
    `${JSON.stringify(files.tokenizerConfig, null, 2)}\n`,
  );
  await writeFileAtomically(join(directory, "tokenizer.json"), JSON.stringify(files.tokenizerJson));
}

function countWords(texts: Iterable<string>, split: RegExp, ids: ReadonlyMap<string, number>): Word[] {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(split)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const utf8 = new TextEncoder();
  return Array.from(counts, ([word, count]) => ({
    ids: Array.from(utf8.encode(word), (byte) => ids.get(byteToChar[byte]!)!),
    count,
  }));
}

function byteLevel(useRegex: boolean): object {
  return { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: useRegex };
}

function preTokenizer(split: "gpt2" | "llama3"): object {
  if (split === "gpt2") return byteLevel(true);
  const words = { type: "Split", pattern: { Regex: LLAMA3_SPLIT_SOURCE }, behavior: "Isolated", invert: false };
  return { type: "Sequence", pretokenizers: [words, byteLevel(false)] };
}

function bosTemplate(bos: string, id: number): object {
  const special = { SpecialToken: { id: bos, type_id: 0 } };
  return {
    type: "TemplateProcessing",
    single: [special, { Sequence: { id: "A", type_id: 0 } }],
    pair: [special, { Sequence: { id: "A", type_id: 0 } }, special, { Sequence: { id: "B", type_id: 1 } }],
    special_tokens: { [bos]: { id: bos, ids: [id], tokens: [bos] } },
  };
}
