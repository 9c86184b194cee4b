import { createReadStream } from "node:fs";
import { appendFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { writeFileAtomic } from "@slayer/checkpoint";

/** One optimizer step. */
export interface StepMetrics {
  /** From 1. */
  step: number;
  /** Mean over the step's scored tokens, nats. */
  loss: number;
  lr: number;
  /** AdaLoRA's, for vectors that are not orthogonal; not part of `loss`. */
  penalty?: number;
  /** Sum of the ranks that AdaLoRA keeps. */
  ranks?: number;
  /** Before clipping. */
  grad_norm: number;
  /** Tokens processed since the start of the run. */
  tokens: number;
  tokens_per_second: number;
  /** Duration of the step. */
  seconds: number;
  /** Share of the device's fastest matrix product that the model's own arithmetic reaches; only where that was measured. */
  mfu?: number;
}

/** A step without an update, and why. */
export interface SkippedStep {
  step: number;
  skipped: string;
  tokens: number;
}

/** Held-out losses after a step, nats per token by file. */
export interface EvalMetrics {
  step: number;
  eval: Record<string, number>;
}

export type Metrics = StepMetrics | SkippedStep | EvalMetrics;

/** Appends one line to metrics.jsonl. */
export async function appendMetrics(file: string, metrics: Metrics): Promise<void> {
  await appendFile(file, `${JSON.stringify(metrics)}\n`);
}

/**
 * All lines of metrics.jsonl up to and including `lastStep`; a last line cut short by a crash is left out. An absent file has none.
 */
export async function readMetrics(file: string, lastStep = Infinity): Promise<Metrics[]> {
  const metrics: Metrics[] = [];
  try {
    for await (const line of createInterface({ input: createReadStream(file, "utf8"), crlfDelay: Infinity })) {
      const parsed = parseLine(line);
      if (parsed && parsed.step <= lastStep) metrics.push(parsed);
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  return metrics;
}

/** Rewrites metrics.jsonl to end at `lastStep`, so that a resumed run continues the curve without repeating a step. */
export async function truncateMetrics(file: string, lastStep: number): Promise<void> {
  const kept = await readMetrics(file, lastStep);
  await writeFileAtomic(file, kept.map((line) => `${JSON.stringify(line)}\n`).join(""));
}

function parseLine(line: string): Metrics | undefined {
  try {
    const value = JSON.parse(line) as Metrics;
    return Number.isInteger(value.step) ? value : undefined;
  } catch {
    return undefined;
  }
}
