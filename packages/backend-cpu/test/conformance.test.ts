import { cases, runCase } from "@slayer/backend-conformance";
import { createCpuBackend } from "@slayer/backend-cpu";
import { type Backend, fusedOps } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { isas, missing, note } from "./support/addon.js";
import { shifted } from "./support/shifted.js";

/** All but activations in bf16 (this backend computes in f32) and fused products, which it does not ask for. */
const checked = cases.filter(
  (c) => !c.bench && c.storage !== "bf16" && !(fusedOps.includes(c.op) && c.op.startsWith("matmul")),
);

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

describe.skipIf(missing !== undefined)(`every kernel within its case's tolerance of the f64 reference${note}`, () => {
  const variants = isas.flatMap((isa) => [1, 2, 3].map((threads) => ({ isa, threads })));

  it.each(variants)("$isa on $threads threads", async ({ isa, threads }) => {
    const backend = await createCpuBackend({ isa, threads });
    expect(backend.capabilities.device).toContain(`${isa}, ${threads} thread`);
    expect(await failures(backend)).toEqual({});
    await backend.close();
  });

  it.each(isas)("%s on operands that are aligned to 4 bytes only", async (isa) => {
    const backend = await createCpuBackend({ isa, threads: 2 });
    expect(await failures(shifted(backend, 4))).toEqual({});
    await backend.close();
  });
});
