import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import type { Batch } from "@slayer/data";

/** Losses that a new one is compared with. */
const WINDOW = 32;

/** What is wrong with a step, judged by its loss and those before it. */
export class LossWatch {
  readonly #rise: number;
  readonly #recent: number[];

  /** `rise`: nats above the median of the last 32 losses that count as exploding; 0: never. `before`: the run's losses so far. */
  constructor(rise: number, before: readonly number[]) {
    this.#rise = rise;
    this.#recent = before.slice(-WINDOW);
  }

  /** In words, or null. */
  problem(loss: number): string | null {
    if (!Number.isFinite(loss)) return `the loss is ${loss}`;
    if (this.#rise === 0 || this.#recent.length < WINDOW) return null;
    const median = this.#recent.toSorted((a, b) => a - b)[WINDOW / 2]!;
    if (loss <= median + this.#rise) return null;
    return `the loss is ${loss.toFixed(3)}, more than ${this.#rise} nats above ${median.toFixed(3)}, the median of the last ${WINDOW} steps`;
  }

  add(loss: number): void {
    this.#recent.push(loss);
    if (this.#recent.length > WINDOW) this.#recent.shift();
  }
}

/** One micro-batch of a step and its loss, the sum over its scored tokens. */
export interface SeenBatch {
  readonly batch: Batch;
  readonly nll: number;
  readonly scored: number;
}

/** Writes what a step was made of to `dir`/step-….json, to be looked into, and returns the file. */
export async function saveAnomaly(
  dir: string,
  step: number,
  problem: string,
  gradientNorm: number | null,
  seen: readonly SeenBatch[],
): Promise<string> {
  const file = join(dir, `step-${String(step).padStart(8, "0")}.json`);
  const rows = (values: Int32Array, length: number) =>
    Array.from({ length: values.length / length }, (_, row) => [...values.subarray(row * length, (row + 1) * length)]);
  const number = (value: number | null) => (value === null || Number.isFinite(value) ? value : String(value));
  const batches = seen.map(({ batch, nll, scored }) => ({
    loss: number(nll / scored),
    scored_tokens: scored,
    ...Object.fromEntries(
      (["inputIds", "targets", "positions", "segments"] as const).map((key) => [
        key === "inputIds" ? "input_ids" : key,
        rows(batch[key], batch.sequenceLength),
      ]),
    ),
  }));
  await mkdir(dir, { recursive: true });
  const content = { step, problem, gradient_norm: number(gradientNorm), batches };
  await writeFileAtomic(file, `${JSON.stringify(content)}\n`);
  return file;
}
