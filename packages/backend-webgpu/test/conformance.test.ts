import { cases, runCase } from "@slayer/backend-conformance";
import { createWebgpuBackend, type WebgpuOptions } from "@slayer/backend-webgpu";
import { fusedOps } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { adapterFeatures, missing, note } from "./support/adapter.js";

if (missing !== undefined) {
  process.stderr.write(
    `The tests of WebGPU are left out: ${missing}. For an adapter: eval "$(tools/webgpu-adapter.sh)"\n`,
  );
}

const features = missing === undefined ? await adapterFeatures() : new Set<string>();

type Case = (typeof cases)[number];

/** What is wrong, by case; the tolerance of each is its own. */
async function failures(
  options: WebgpuOptions,
  which: (c: Case) => boolean,
  tolerance?: Case["tolerance"],
): Promise<Record<string, unknown>> {
  const backend = await createWebgpuBackend(options);
  const wrong: Record<string, unknown> = {};
  // Fused ops that it does not ask for are not there; and stochastic rounding must be the same to the bit, but WGSL's division need not be exact.
  const others = fusedOps.filter((op) => !backend.capabilities.fused!.includes(op));
  const meant = (c: Case) => !c.bench && !others.includes(c.op) && c.attrs.stochastic !== true;
  for (const kernelCase of cases.filter((c) => meant(c) && which(c))) {
    const result = await runCase(backend, { ...kernelCase, ...(tolerance && { tolerance }) });
    if (result.status !== "passed") wrong[kernelCase.name] = result;
  }
  await backend.close();
  return wrong;
}

// Every case on the adapter as it is: packages/backend-conformance.
describe.skipIf(missing !== undefined)(`kernels within their cases' tolerances of the f64 reference${note}`, () => {
  it("where a binding holds 48 KiB: larger operands in panels", async () => {
    const options = { limits: { bindingBytes: 48 * 2 ** 10 } };
    // Tables of embeddings, and their gradients, are not cut into panels.
    const inPanels = (c: Case) => !c.op.startsWith("attention") && !/^embedding(_backward)? V\d+ D1032/.test(c.name);
    expect(await failures(options, inPanels)).toEqual({});
  });

  it("where a binding holds 112 KiB: attention sequence by sequence", async () => {
    const bindingBytes = 112 * 2 ** 10;
    // One sequence is bound whole.
    const fits = ({ inputs }: Case) => inputs.every(({ shape: [, T = 1, D = 1] }) => 4 * T * D <= bindingBytes);
    const chosen = (c: Case) => c.op.startsWith("attention") && fits(c);
    expect(cases.some((c) => chosen(c) && c.name.includes("B2 T200 H2"))).toBe(true);
    expect(await failures({ limits: { bindingBytes } }, chosen)).toEqual({});
  });

  it("in workgroups of at most 8 threads, those of products apart", async () => {
    expect(await failures({ limits: { invocations: 8 } }, (c) => !c.op.startsWith("attention"))).toEqual({});
  });

  // With the LM head's gradients, for products that are added to what is there.
  const products = (c: Case) => c.op === "matmul" || c.op === "lm_head_loss_backward";

  it.each(["tiled4", "tiled8", "rows"] as const)("matrix products as %s", async (variant) => {
    // What is stored how is read by the same lines for both tiles.
    const which = (c: Case) => products(c) && (variant === "tiled8" || c.storage === undefined);
    expect(await failures({ products: variant }, which)).toEqual({});
  });

  it.each([4, 0])("some of them for subgroups of %i, on whatever there is", async (subgroupSize) => {
    const some = (c: Case) => products(c) && /NT 17×33×65|TN 136×72×328/.test(c.name);
    expect(await failures({ products: "rows", limits: { subgroupSize } }, some)).toEqual({});
  });

  // With subgroups, if the adapter has them: all other tests.
  it("sums and maxima over a workgroup by a tree in its memory", async () => {
    const summing = (c: Case) => /^(rmsnorm|sum|lm_head_loss |embedding_backward|attention .* offset)/.test(c.name);
    expect(cases.filter(summing).length).toBeGreaterThan(40);
    expect(await failures({ limits: { subgroupSize: 0 } }, summing)).toEqual({});
  });

  it("some of them as on matrix units, but those of plain loops", async () => {
    const some = (c: Case) => /matmul (NT 17×33×65|TN 136×72×328|NN 17×33×65, bf16)$/.test(c.name);
    expect(await failures({ products: "emulated" }, some)).toEqual({});
  });

  it.skipIf(!features.has("shader-f16"))(
    `some of them on operands rounded to f16 (2⁻¹⁰: each operand is off by up to 2⁻¹¹ of itself)${features.has("shader-f16") ? "" : ", not checked here: no shader-f16"}`,
    async () => {
      const some = {
        half4: /^matmul (NT 17×33×65|TN 64×64×64, bf16)$/,
        half8: /^matmul (NN 64×64×64|TT 136×72×328)$/,
      } as const;
      for (const products of ["half4", "half8"] as const) {
        const options = { products, half: true };
        const which = (c: Case) => some[products].test(c.name);
        expect(await failures(options, which, { value: 2 ** -10, reason: "f16" })).toEqual({});
        // And they do round: f32's tolerance is too narrow.
        expect(Object.keys(await failures(options, which))).not.toEqual([]);
      }
    },
  );

  // On the processor each of these takes a second or more to compile.
  it.each([
    "matmul NT 17×33×65, bf16",
    "attention B2 T37 H4 K2 E8 segments",
    "attention_backward B2 T37 H4 K2 E8 segments",
  ])("as chosen for a GPU, on whatever there is: %s", async (name) => {
    expect(await failures({ kernels: "gpu" }, (c) => c.name === name)).toEqual({});
  });
});
