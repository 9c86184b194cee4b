import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createCudaBackend } from "@slayer/backend-cuda";
import { expectedTensors, parseConfig } from "@slayer/checkpoint";
import { createReferenceBackend, planCost, size } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { peaksOf } from "../src/gpu/device-peaks.js";
import { profile } from "../src/gpu/profile.js";
import { repeated } from "../src/gpu/random.js";
import { LARGE, shapesOf, TINY } from "../src/gpu/shapes.js";
import { type StepOptions, trainSteps } from "../src/gpu/step.js";
import { spotCheck } from "../src/gpu/spot-check.js";
import { reached, targetOf } from "../src/gpu/targets.js";
import { timeOp } from "../src/gpu/time.js";

const options: StepOptions = {
  config: parseConfig(
    {
      model_type: "llama",
      vocab_size: 64,
      hidden_size: 64,
      intermediate_size: 96,
      num_hidden_layers: 3,
      num_attention_heads: 1,
      num_key_value_heads: 1,
      max_position_embeddings: 64,
      rms_norm_eps: 1e-5,
      hidden_act: "silu",
      tie_word_embeddings: false,
    },
    "config.json",
  ),
  trained: [1, 2],
  batch: 2,
  length: 24,
  recompute: false,
  steps: 6,
};

describe("training steps in bf16, blocks 1 and 2 of 3", () => {
  it("begin near the loss of a guess, ln V, and fall; recomputed blocks change nothing", async () => {
    const backend = createReferenceBackend();
    const kept = await trainSteps(backend, options);
    expect(Math.abs(kept.losses[0]! - Math.log(64))).toBeLessThan(0.05);
    expect(kept.losses.at(-1)!).toBeLessThan(kept.losses[0]!);
    const recomputed = await trainSteps(backend, { ...options, recompute: true });
    expect(recomputed.losses).toEqual(kept.losses);
  });

  it("go without f32 masters, rounded stochastically: 4 bytes less a trained weight, the same losses within 1e-2: a bf16 unit of a weight of 0.02 is as much as an update", async () => {
    const backend = createReferenceBackend();
    const [kept, rounded] = [
      await trainSteps(backend, options),
      await trainSteps(backend, { ...options, stochastic: true }),
    ];
    const trained = [...expectedTensors(options.config)]
      .filter(([name]) => options.trained.some((l) => name.startsWith(`model.layers.${l}.`)))
      .reduce((sum, [, shape]) => sum + size(shape), 0);
    expect(kept.plannedBytes - rounded.plannedBytes).toBeGreaterThan(4 * trained - 4096);
    expect(rounded.losses[0]).toBe(kept.losses[0]);
    expect(rounded.losses).not.toEqual(kept.losses);
    rounded.losses.forEach((loss, i) => expect(Math.abs(loss - kept.losses[i]!)).toBeLessThan(1e-2));
  });

  it("are profiled whole: every step of the plans is counted, with its FLOPs", async () => {
    const backend = createReferenceBackend();
    const { plans } = await trainSteps(backend, { ...options, steps: 2 });
    const rows = await profile(backend, plans, 64);
    expect(rows.reduce((sum, { count }) => sum + count, 0)).toBe(plans.flatMap(({ steps }) => steps).length);
    const flops = plans.reduce((sum, plan) => sum + planCost(plan).modelFlops, 0);
    expect(rows.reduce((sum, row) => sum + row.flops, 0)).toBeCloseTo(flops, 0);
    for (const { seconds } of rows) expect(seconds).toBeGreaterThan(0);
  });

  const driver = fileURLToPath(new URL("../../packages/backend-cuda/build/Release/libcuda_host.so", import.meta.url));
  const missing = existsSync(driver) ? "" : " (not checked here: the host's CUDA driver was not built)";
  it.skipIf(missing !== "")(
    `the CUDA kernels on the host give the reference's losses within 1e-3, norms within 2 %: sums of bf16 roundings${missing}`,
    async () => {
      const kernels = mkdtempSync(join(tmpdir(), "slayer-kernels-"));
      writeFileSync(join(kernels, "host.fatbin"), "the host's driver brings its own");
      const addon = join(driver, "../slayer_cuda.node");
      Object.assign(process.env, {
        SLAYER_CUDA_ADDON: addon,
        SLAYER_CUDA_DRIVER: driver,
        SLAYER_CUDA_KERNELS: kernels,
      });
      const cuda = await createCudaBackend();
      const [ours, reference] = [await trainSteps(cuda, options), await trainSteps(createReferenceBackend(), options)];
      await cuda.close();
      ours.losses.forEach((loss, i) => expect(Math.abs(loss - reference.losses[i]!)).toBeLessThan(1e-3));
      ours.norms.forEach((norm, i) => expect(Math.abs(norm / reference.norms[i]! - 1)).toBeLessThan(0.02));
    },
  );
});

describe("what is timed", () => {
  it("every shape fits its op, and is timed with its cost", async () => {
    const backend = createReferenceBackend();
    const timing = await timeOp(
      backend,
      shapesOf(TINY).find(({ op }) => op === "rope")!,
    );
    expect(timing.seconds).toBeGreaterThan(0);
    expect(timing.cost.bytes).toBeGreaterThan(0);
  });

  it("some elements of products and of attention are compared with f64: within a bf16's rounding, and not where they are wrong", async () => {
    const backend = createReferenceBackend();
    const names = ["matmul TN", "attention B1 T32 H2 K1"];
    for (const shape of shapesOf(TINY).filter(({ name }) => names.some((start) => name.startsWith(start)))) {
      const { error } = await timeOp(backend, shape);
      expect(error).toBeLessThan(2 ** -8);
    }
    const type = { shape: [4, 4], dtype: "f32" } as const;
    const ones = new Uint8Array(new Float32Array(16).fill(1).buffer);
    const held = { type, bytes: ones };
    expect(spotCheck("matmul", {}, [held, held], held)).toBe(0.75); // 1 where 4 is right
  });

  it("random values are normal, have mean 0 and the variance asked for, within 1 %, and repeat after a million", () => {
    const values = new Float32Array(repeated("f32", 1_100_000, 0.5).buffer);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const variance = values.reduce((a, b) => a + b * b, 0) / values.length;
    expect(Math.abs(mean)).toBeLessThan(2e-3);
    expect(Math.abs(variance / 0.25 - 1)).toBeLessThan(0.01);
    expect(values[1_048_573]).toBe(values[0]);
    const fourth = values.reduce((sum, x) => sum + x ** 4, 0) / values.length;
    expect(Math.abs(fourth / 0.5 ** 4 - 3)).toBeLessThan(0.05); // a normal distribution's
    expect(values[1]).not.toBe(values[0]);
  });

  it("targets are of the peak that bounds a kernel, and work that is done again counts", () => {
    const peaks = { bf16: 800e12, f32: 60e12, bandwidth: 4e12 };
    const shape = (start: string) => shapesOf(LARGE).find(({ name }) => name.startsWith(start))!;
    const of = (start: string) => {
      const found = targetOf(shape(start))!;
      return [found.share, reached(found, 80e9, 4e9, 1e-3, peaks)];
    };
    expect(of("matmul NT")).toEqual([0.78, 0.1]);
    expect(of("matmul TN")).toEqual([0.72, 0.1]);
    expect(of("matmul NT 4096×4096×4096, f32")[1]).toBeCloseTo(80 / 60, 12);
    expect(of("attention_backward B4 T4096 H32 K32 E128")).toEqual([0.53, 0.125]); // 5 products for 4
    expect(of("lm_head_loss_backward")).toEqual([0.7, 0.2]); // 2 products for 1
    expect(of("adamw")).toEqual([0.85, 1]);
    expect(targetOf(shape("attention B4 T4096 H64 K32 E64"))).toBeUndefined();
    expect(targetOf(shape("matmul NT"), "webgpu")).toEqual({ share: 0.65, of: "f32", work: 1 });
    expect(targetOf(shape("attention B4 T4096 H32 K32 E128"), "webgpu")).toBeUndefined();
    expect(targetOf(shape("rope"), "webgpu")).toEqual(targetOf(shape("rope")));
  });

  it("peaks go by the device's name, the more precise name first", () => {
    expect(peaksOf("NVIDIA H100 PCIe (compute capability 9.0)")?.bf16).toBe(756e12);
    expect(peaksOf("NVIDIA H100 80GB HBM3 (compute capability 9.0)")?.bandwidth).toBe(3.35e12);
    expect(peaksOf("host executor")).toBeUndefined();
  });
});
