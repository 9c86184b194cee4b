import { AddonMissingError, createCpuBackend } from "@slayer/backend-cpu";
import { createReferenceBackend } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import source from "../../../test/fixtures/losscurve/source.json" with { type: "json" };
import { compareCurve, longSettings, settings } from "./run-losscurve.js";

const cpu = await createCpuBackend().catch((error: unknown) => {
  if (error instanceof AddonMissingError) return error;
  throw error;
});

const runs = [
  { run: "blocks", patterns: ["model.layers.1", "model.layers.2"], clip: source.runs.blocks.clip },
  { run: "all", patterns: ["*"], clip: source.runs.all.clip },
];

describe("12 steps give the numbers of PyTorch's AdamW on Transformers' model", () => {
  it.each(runs)(
    "$run trainable: losses ≤ 1e-5, first gradients, gradient norms and final weights ≤ 1e-4 relative",
    async ({ run, patterns, clip }) => {
      const files = { expected: `expected.${run}.safetensors`, batches: "batches.safetensors" };
      const worst = await compareCurve(createReferenceBackend(), { ...files, patterns, settings, clip });
      expect(worst.relativeLoss).toBeLessThanOrEqual(1e-5);
      expect(worst.gradient).toBeLessThanOrEqual(1e-4);
      expect(worst.lr).toBeLessThanOrEqual(1e-6);
      expect(worst.norm).toBeLessThanOrEqual(1e-4);
      expect(worst.final).toBeLessThanOrEqual(1e-4);
    },
  );
});

describe.each([
  ["cpt", "every token scored"],
  ["sft", "prompts not scored"],
])("200 steps (%s: %s) stay with PyTorch and Transformers", (run) => {
  const title = "losses within 1e-3 nats, first gradients within 1e-4 relative (f32), and the loss falls";
  const options = {
    ...{ expected: `expected.${run}.safetensors`, batches: `batches.${run}.safetensors`, patterns: ["*"] },
    ...{ settings: longSettings, clip: longSettings.clip },
  };
  const check = (worst: Awaited<ReturnType<typeof compareCurve>>) => {
    expect(worst.losses).toHaveLength(longSettings.steps);
    expect(worst.loss).toBeLessThanOrEqual(1e-3);
    expect(worst.gradient).toBeLessThanOrEqual(1e-4);
    const mean = (from: number) => worst.losses.slice(from, from + 20).reduce((a, b) => a + b, 0) / 20;
    expect(mean(180)).toBeLessThan(mean(0) - 0.5);
  };

  it(`reference: ${title}`, async () => check(await compareCurve(createReferenceBackend(), options)));

  it.skipIf(cpu instanceof Error)(`cpu${cpu instanceof Error ? `, skipped: ${cpu.message}` : ""}: ${title}`, async () =>
    check(await compareCurve(cpu as Exclude<typeof cpu, Error>, options)),
  );
});
