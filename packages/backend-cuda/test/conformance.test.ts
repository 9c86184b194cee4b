import { cases, runCase } from "@slayer/backend-conformance";
import { createCudaBackend } from "@slayer/backend-cuda";
import type { Backend } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

const checked = cases.filter((c) => !c.bench);
/** SwiGLU with its products is one kernel on the tensor cores only; else plans have its parts. */
const isBuilt = ({ op, storage, inputs }: (typeof cases)[number]) =>
  op !== "matmul_swiglu" || (storage === "bf16" && inputs[1]!.shape.every((n) => n % 8 === 0));
/** Norms of activations in bf16 by weights in f32, a mixture that no case has. */
const mixed = checked
  .filter(({ op, storage }) => op.startsWith("rmsnorm") && op !== "rmsnorm_backward_weight" && storage === "bf16")
  .map((c) => ({
    ...c,
    inputs: c.inputs.map((input) =>
      input.shape.length === 1 && input.dtype === "bf16" ? { ...input, dtype: "f32" as const } : input,
    ),
  }));
/**
 * Products of six tiles of 256 × 256 for the two pairs of blocks that the host's device runs at once, whose edges cut tiles, boxes and steps
 * of k: in every layout, with results in bf16 and an addend, and in f32. Two of SwiGLU.
 */
const large = [false, true].flatMap((transposeA) =>
  [false, true].flatMap((transposeB): (typeof cases)[number][] => {
    const [m, n, k] = [transposeA ? 520 : 515, transposeB ? 261 : 264, 328];
    const attrs = { transposeA, transposeB };
    const shapes = [transposeA ? [k, m] : [m, k], transposeB ? [n, k] : [k, n], [m, n]];
    const inputs = shapes.map((shape) => ({ shape, dtype: "bf16", fill: { kind: "normal" } }) as const);
    const inF32 = { value: 1e-5, reason: "f32 sums of 328 products" };
    const inBf16 = { value: 2 ** -7, reason: "results rounded to bf16" };
    const name = `${m}×${n}×${k}, ${JSON.stringify(attrs)}`;
    return [
      { name: `matmul_add ${name}`, op: "matmul_add", attrs, inputs, tolerance: inBf16 },
      {
        name: `matmul ${name}`,
        op: "matmul",
        attrs: { ...attrs, f32: true },
        inputs: inputs.slice(0, 2),
        tolerance: inF32,
      },
      ...(transposeA
        ? []
        : [
            {
              name: `matmul_swiglu ${name}`,
              op: "matmul_swiglu" as const,
              attrs: { keep: transposeB },
              inputs: [
                [m, k],
                [264, k],
                [264, k],
              ].map((shape) => ({ ...inputs[0]!, shape })),
              tolerance: inBf16,
            },
          ]),
    ];
  }),
);
/** More steps of k than those in which the addend is asked for ahead. */
const long: (typeof cases)[number] = {
  name: "matmul_add NT 264×256×4168",
  op: "matmul_add",
  attrs: { transposeA: false, transposeB: true },
  inputs: [
    [264, 4168],
    [256, 4168],
    [264, 256],
  ].map((shape) => ({ shape, dtype: "bf16", fill: { kind: "normal" } })),
  tolerance: { value: 2 ** -7, reason: "results rounded to bf16" },
};
if (missing === undefined) Object.assign(process.env, hostEnvironment());

/** What is wrong, by case. */
async function failures(backend: Backend, among = checked): Promise<Record<string, readonly string[]>> {
  const wrong: Record<string, readonly string[]> = {};
  for (const kernelCase of among) {
    const result = await runCase(backend, kernelCase);
    if (result.status === "failed") wrong[result.case.name] = result.problems;
    if (result.status === "unsupported") wrong[result.case.name] = [result.reason];
  }
  return wrong;
}

describe.skipIf(missing !== undefined)(`CUDA kernels on the host's executor${note}`, () => {
  it("every kernel, f32 and bf16, within its case's tolerance of the f64 reference", async () => {
    const backend = await createCudaBackend();
    expect(backend.capabilities.device).toContain("host executor");
    expect(await failures(backend, [...checked.filter(isBuilt), ...mixed])).toEqual({});
    await backend.close();
  });

  it("the loss over panels of rows, which it takes where the device's memory has no room for all logits, likewise", async () => {
    process.env.SLAYER_HOST_DRIVER = `memory=${2 ** 23}`; // panels of 2 MiB: 128, 128 and 44 rows of 2056
    try {
      const backend = await createCudaBackend();
      const [rows, V] = [300, 2056];
      const some = checked.filter(
        ({ op, storage, inputs }) =>
          op.startsWith("lm_head_loss") && !storage && inputs.some(({ shape }) => shape[0] === V),
      );
      expect(some.length).toBeGreaterThan(2);
      const longer = some.map((each) => ({
        ...each,
        inputs: each.inputs.map((input) => ({ ...input, shape: input.shape.map((n) => (n === 5 ? rows : n)) })),
      }));
      expect(await failures(backend, longer)).toEqual({});
      await backend.close();
    } finally {
      delete process.env.SLAYER_HOST_DRIVER;
    }
  });

  // What is left to hardware are the encodings of descriptors and maps.
  it("products of Hopper's warpgroups likewise: small ones, several tiles for each pair of blocks, many steps", async () => {
    Object.assign(process.env, { SLAYER_HOST_DRIVER: "major=9" });
    try {
      const backend = await createCudaBackend();
      const products = checked.filter(({ op, storage }) => op.startsWith("matmul") && storage === "bf16");
      expect(products.length).toBeGreaterThan(20);
      expect(await failures(backend, [...products.filter(isBuilt), ...large, long])).toEqual({});
      await backend.close();
    } finally {
      delete process.env.SLAYER_HOST_DRIVER;
    }
  });
});
