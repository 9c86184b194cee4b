import { Pcg32, shuffle, Tokenizer } from "@slayer/data";
import { type ChoiceItem, type ChoiceText, parseChoices, type SequenceBatch } from "@slayer/importance";
import { UserError } from "../errors.js";
import { readText } from "../files.js";

const MAX_ITEM_FILE_BYTES = 256 * 2 ** 20;

/** Pieces of `length` that do not overlap. A rest is left out, unless it is the whole document. */
export function cut(ids: Int32Array, length: number): Int32Array[] {
  if (ids.length <= length) return ids.length === 0 ? [] : [ids];
  return Array.from({ length: Math.floor(ids.length / length) }, (_, i) => ids.subarray(i * length, (i + 1) * length));
}

/** At most `most` of the samples, all equally likely; in their order, or in that in which they were drawn. */
export function draw<T>(samples: readonly T[], most: number, seed: number, order: "sorted" | "drawn"): T[] {
  const drawn = shuffle(Int32Array.from(samples.keys()), new Pcg32(seed, 0)).subarray(0, most);
  return Array.from(order === "sorted" ? drawn.sort() : drawn, (i) => samples[i]!);
}

/** Sequences of one length in a row, up to `size` together. */
export function sequenceBatches(sequences: readonly Int32Array[], size: number): SequenceBatch[] {
  const batches: SequenceBatch[] = [];
  for (let first = 0; first < sequences.length;) {
    const { length } = sequences[first]!;
    let count = 1;
    while (count < size && sequences[first + count]?.length === length) count++;
    const ids = new Int32Array(count * length);
    for (let b = 0; b < count; b++) ids.set(sequences[first + b]!, b * length);
    batches.push({ ids, batch: count, length });
    first += count;
  }
  return batches;
}

/** Up to `size` items together. */
export function itemBatches(items: readonly ChoiceItem[], size: number): ChoiceItem[][] {
  return Array.from({ length: Math.ceil(items.length / size) }, (_, i) => items.slice(i * size, (i + 1) * size));
}

/**
 * The multiple-choice items of some JSONL files, tokenised by the model's tokenizer; each row at most `longest` tokens.
 * @throws UserError for an item that is too long, ImportanceError for one that is none
 */
export async function readItems(model: string, files: readonly string[], longest: number): Promise<ChoiceItem[]> {
  const tokenizer = await Tokenizer.load(model);
  const items: ChoiceItem[] = [];
  for (const file of files) {
    const texts = parseChoices(await readText(file, MAX_ITEM_FILE_BYTES), file);
    for (const [i, text] of texts.entries()) {
      const item = encodeItem(tokenizer, text);
      const tokens = item.context.length + Math.max(...item.choices.map(({ ids }) => ids.length));
      if (tokens > longest) {
        throw new UserError(
          `${file}: item ${i + 1} has ${tokens} tokens, expected at most ${longest}; shorten it or raise --sequence-length`,
        );
      }
      items.push(item);
    }
  }
  return items;
}

/**
 * As lm-evaluation-harness encodes a context and its continuation: together, a space between them unless one of them has it,
 * white space at the seam belonging to the continuation; what goes beyond the context's own tokens is the choice.
 */
function encodeItem(tokenizer: Tokenizer, { context, choices, answer }: ChoiceText): ChoiceItem {
  const before = context.trimEnd();
  const prefix = tokenizer.encode(before);
  return {
    context: prefix,
    choices: choices.map((choice) => {
      const seam = context.slice(before.length) || (/^\s/.test(choice) || context === "" ? "" : " ");
      const ids = tokenizer.encode(`${before}${seam}${choice}`).slice(prefix.length);
      return { ids, bytes: Buffer.byteLength(choice) };
    }),
    answer,
  };
}
