import { cases, runCase } from "@slayer/backend-conformance";
import { createCudaBackend } from "@slayer/backend-cuda";
import type { Backend } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

const checked = cases.filter((c) => !c.bench);
/** SwiGLU with its products is one kernel on the tensor cores only; else plans have its parts. */
const isBuilt = ({ op, storage, inputs }: (typeof cases)[number]) =>
  op !== "matmul_swiglu" || (storage === "bf16" && inputs[1]!.shape.every((n) => n % 8 === 0));
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
    expect(await failures(backend, checked.filter(isBuilt))).toEqual({});
    await backend.close();
  });

  // What is left to hardware are the descriptors' encoding and the fences.
  it("products of Hopper's warpgroups, which a device gets on request, likewise", async () => {
    Object.assign(process.env, { SLAYER_HOST_DRIVER: "major=9", SLAYER_CUDA_WGMMA: "1" });
    try {
      const backend = await createCudaBackend();
      const products = checked.filter(
        ({ op, storage }) => ["matmul", "matmul_accumulate", "matmul_add"].includes(op) && storage === "bf16",
      );
      expect(products.length).toBeGreaterThan(20);
      expect(await failures(backend, products)).toEqual({});
      await backend.close();
    } finally {
      delete process.env.SLAYER_HOST_DRIVER;
      delete process.env.SLAYER_CUDA_WGMMA;
    }
  });
});
