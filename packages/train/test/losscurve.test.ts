import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AddonMissingError, createCpuBackend } from "@slayer/backend-cpu";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, readMetrics, type StepMetrics, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const fixture = fileURLToPath(new URL("../../../test/fixtures/losscurve-stages/", import.meta.url));

interface Expected {
  recipe: object;
  losses: number[];
  grad_norms: number[];
  lrs: number[];
}
const expected = JSON.parse(await readFile(`${fixture}expected.json`, "utf8")) as Record<"cpt" | "sft", Expected>;

/** Kernels where they are built: the reference takes some ten times as long. */
async function fastestBackend(): Promise<Backend> {
  try {
    return await createCpuBackend();
  } catch (error) {
    if (error instanceof AddonMissingError) return createReferenceBackend();
    throw error;
  }
}

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-losscurve-"));
});
afterAll(() => rm(dir, { recursive: true }));

describe("200 steps from a recipe give the curve of PyTorch + Transformers on the same batches", () => {
  it.each(["cpt", "sft"] as const)(
    "%s: losses ≤ 1e-3 absolute in f32; gradient norms ≤ 0.01 relative, for rounding adds up over the steps",
    async (stage) => {
      const { recipe: raw, losses, grad_norms, lrs } = expected[stage];
      const recipe = checkRecipe({ ...raw, model: `${fixture}model`, out: join(dir, stage) }, "expected.json");
      await train(recipe, await fastestBackend(), { directory: fixture });
      const steps = (await readMetrics(join(dir, stage, "metrics.jsonl"))) as StepMetrics[];
      expect(steps).toHaveLength(200);
      const worst = (of: (step: StepMetrics, i: number) => number): number => Math.max(...steps.map(of));
      expect(worst(({ loss }, i) => Math.abs(loss - losses[i]!))).toBeLessThanOrEqual(1e-3);
      expect(worst(({ grad_norm }, i) => Math.abs(grad_norm / grad_norms[i]! - 1))).toBeLessThanOrEqual(0.01);
      expect(worst(({ lr }, i) => Math.abs(lr / lrs[i]! - 1))).toBeLessThanOrEqual(1e-6);
      // It learns: a curve that stays where it is would be easy to follow.
      expect(losses.at(-1)).toBeLessThan(losses[0]! - 1);
    },
  );
});
