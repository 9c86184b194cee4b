import { cases, runCase } from "@slayer/backend-conformance";
import { createCudaBackend } from "@slayer/backend-cuda";
import type { Backend } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

const checked = cases.filter((c) => !c.bench);
if (missing === undefined) Object.assign(process.env, hostEnvironment());

/** What is wrong, by case. */
async function failures(backend: Backend): Promise<Record<string, readonly string[]>> {
  const wrong: Record<string, readonly string[]> = {};
  for (const kernelCase of checked) {
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
    expect(await failures(backend)).toEqual({});
    await backend.close();
  });
});
