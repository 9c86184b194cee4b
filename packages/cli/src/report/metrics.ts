import { z } from "zod";
import { UserError } from "../errors.js";

const step = z.int().nonnegative();
const stepLine = z.object({
  step,
  loss: z.number(),
  lr: z.number(),
  grad_norm: z.number(),
  tokens: z.number(),
  tokens_per_second: z.number(),
  seconds: z.number(),
  ranks: z.number().optional(),
  penalty: z.number().optional(),
});
const skippedLine = z.object({ step, skipped: z.string() });
const evalLine = z.object({ step, eval: z.record(z.string(), z.number()) });

/** A training run's metrics.jsonl: optimizer steps, and held-out losses (nats per token, by name) in between. */
export interface RunMetrics {
  readonly steps: readonly z.infer<typeof stepLine>[];
  readonly evals: readonly z.infer<typeof evalLine>[];
}

/**
 * Reads metrics.jsonl. A last line without an end is left out: the run that writes it may be going on.
 * @throws UserError naming the line
 */
export function parseMetrics(text: string, file: string): RunMetrics {
  const steps: RunMetrics["steps"][number][] = [];
  const evals: RunMetrics["evals"][number][] = [];
  const lines = text.split("\n");
  lines.pop(); // empty, or a line that is still being written
  for (const [i, line] of lines.entries()) {
    if (line.trim() === "") continue;
    const value = parseLine(line, `${file}:${i + 1}`);
    const heldOut = evalLine.safeParse(value);
    if (heldOut.success) {
      evals.push(heldOut.data);
      continue;
    }
    if (skippedLine.safeParse(value).success) continue;
    const parsed = stepLine.safeParse(value);
    if (!parsed.success) throw new UserError(`${file}:${i + 1}: ${z.prettifyError(parsed.error)}`);
    steps.push(parsed.data);
  }
  return { steps, evals };
}

function parseLine(line: string, where: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new UserError(`${where}: expected JSON: ${(cause as Error).message}`, { cause });
  }
}
