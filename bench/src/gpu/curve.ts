import type { ModelConfig } from "@slayer/checkpoint";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { trainSteps } from "./step.js";

export interface Curve {
  readonly dtype: "f32" | "bf16";
  readonly losses: readonly number[];
  readonly reference: readonly number[];
  /** The largest difference of two losses, in nats. */
  readonly apart: number;
  /** What it may be. */
  readonly allowed: number;
}

const STEPS = 50;
/** In f32 sums differ in their order; in bf16 every activation is rounded, and that order decides how. Ten times what is seen. */
const allowed = { f32: 1e-5, bf16: 5e-3 } as const;

/** The losses of 50 training steps on this backend beside those of the reference executor, in f32 and in bf16. */
export async function curves(backend: Backend, config: ModelConfig, trained: readonly number[]): Promise<Curve[]> {
  const found: Curve[] = [];
  for (const dtype of ["f32", "bf16"] as const) {
    const options = { config, trained, batch: 1, length: 64, recompute: false, steps: STEPS, dtype };
    const { losses } = await trainSteps(backend, options);
    const { losses: reference } = await trainSteps(createReferenceBackend(), options);
    const apart = Math.max(...losses.map((loss, i) => Math.abs(loss - reference[i]!)));
    found.push({ dtype, losses, reference, apart, allowed: allowed[dtype] });
  }
  return found;
}
