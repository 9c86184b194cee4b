import { IGNORE_TARGET } from "@slayer/tensor";
import { ImportanceError } from "./errors.js";
import type { SequenceBatch } from "./batch.js";

/** A multiple-choice item, tokenised: a context, and continuations of which one is right. */
export interface ChoiceItem {
  readonly context: Int32Array;
  readonly choices: readonly {
    readonly ids: Int32Array;
    /** Length in UTF-8. */
    readonly bytes: number;
  }[];
  /** Index of the right choice. */
  readonly answer: number;
}

/** An item as text, one line of a JSONL file. */
export interface ChoiceText {
  readonly context: string;
  readonly choices: readonly string[];
  readonly answer: number;
}

const MAX_CHOICES = 64;

/**
 * Reads JSONL text, which may come from anywhere: one object per line with `context` (text), `choices` (2 to 64 texts) and
 * `answer` (index of the right one, from 0). Other fields are dropped, empty lines skipped.
 *
 * @param file names it in errors
 * @throws ImportanceError naming line and field
 */
export function parseChoices(jsonl: string, file: string): ChoiceText[] {
  const items: ChoiceText[] = [];
  for (const [i, line] of jsonl.split("\n").entries()) {
    if (line.trim() === "") continue;
    const where = `${file}:${i + 1}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw new ImportanceError(`not JSON: ${(cause as Error).message}`, where);
    }
    const { context, choices, answer } = (value ?? {}) as Record<string, unknown>;
    if (typeof context !== "string") throw new ImportanceError("context: want a text", where);
    const texts = Array.isArray(choices) && choices.every((choice) => typeof choice === "string" && choice !== "");
    if (!texts || choices.length < 2 || choices.length > MAX_CHOICES) {
      throw new ImportanceError(`choices: want a list of 2 to ${MAX_CHOICES} texts, none empty`, where);
    }
    if (!Number.isInteger(answer) || (answer as number) < 0 || (answer as number) >= choices.length) {
      throw new ImportanceError(
        `answer: want the index of the right choice, 0 to ${choices.length - 1}, got ${JSON.stringify(answer) ?? "nothing"}`,
        where,
      );
    }
    items.push({ context, choices: choices as string[], answer: answer as number });
  }
  return items;
}

/** The rows of some items, one per choice, padded to the longest; scored are the tokens of the choices. */
export function choiceRows(items: readonly ChoiceItem[]): { batch: SequenceBatch; targets: Int32Array } {
  const rows = items.flatMap(({ context, choices }, i) => {
    if (context.length === 0) {
      throw new ImportanceError(`item ${i} has no token before its choices; begin contexts with a BOS or some text`);
    }
    return choices.map((choice) => {
      if (choice.ids.length === 0) throw new ImportanceError(`item ${i} has a choice without tokens`);
      return { context, ids: choice.ids };
    });
  });
  const lengths = rows.map(({ context, ids }) => context.length + ids.length);
  const T = lengths.reduce((a, b) => Math.max(a, b), 1);
  const ids = new Int32Array(rows.length * T);
  const targets = new Int32Array(rows.length * T).fill(IGNORE_TARGET);
  for (const [b, row] of rows.entries()) {
    ids.set(row.context, b * T);
    ids.set(row.ids, b * T + row.context.length);
    targets.set(row.ids, b * T + row.context.length - 1); // each is predicted one place before its own
  }
  return { batch: { ids, batch: rows.length, length: T, lengths }, targets };
}

/**
 * Per item, from the summed losses of its rows [rows]: the negative log-likelihood per byte of the right choice, and 1 where
 * another choice has a larger likelihood per byte, as lm-evaluation-harness's acc_norm counts (among equals the first wins).
 */
export function judge(items: readonly ChoiceItem[], nll: Float64Array): { perByte: Float64Array; wrong: Float64Array } {
  const perByte = new Float64Array(items.length);
  const wrong = new Float64Array(items.length);
  let row = 0;
  for (const [i, { choices, answer }] of items.entries()) {
    const each = choices.map(({ bytes }) => nll[row++]! / bytes);
    const best = each.reduce((least, value, c) => (value < each[least]! ? c : least), 0);
    perByte[i] = each[answer]!;
    wrong[i] = Number(best !== answer);
  }
  return { perByte, wrong };
}

/**
 * McNemar's exact test: of the items whose answer changed from right to wrong (`lost`) or from wrong to right (`gained`),
 * a neutral change would move each either way with probability ½. Two-sided p-value of as uneven a split.
 */
export function mcnemar(lost: number, gained: number): number {
  const n = lost + gained;
  let logTerm = -n * Math.LN2; // ln C(n, 0) / 2ⁿ
  let tail = 0;
  for (let k = 0; k <= Math.min(lost, gained); k++) {
    tail += Math.exp(logTerm);
    logTerm += Math.log(n - k) - Math.log(k + 1);
  }
  return Math.min(1, 2 * tail);
}
