import { cases, runCase } from "@slayer/backend-conformance";
import { createCudaBackend } from "@slayer/backend-cuda";
import { describe, expect, it } from "vitest";
import { driver, hostEnvironment, missing, note } from "./support/host.js";
import { memory, product } from "./support/tuning.js";

if (missing === undefined) Object.assign(process.env, hostEnvironment(), { SLAYER_CUBLASLT: driver });

describe.skipIf(missing !== undefined)(`products by cuBLASLt, whose entry points the host's driver has${note}`, () => {
  it("are taken where they are the quickest and agree, as here; not where they do not", async () => {
    const { store, saved } = memory();
    const backend = await createCudaBackend({ tuning: store });
    const y = await product(backend, 512, 32);
    await backend.close();
    expect(saved[0]!.text).toBe('{"NT 512×32×64 bf16":"cublasLt"}');

    process.env.SLAYER_HOST_DRIVER = "wrong_products";
    const other = memory();
    const careful = await createCudaBackend({ tuning: other.store });
    expect(await product(careful, 512, 32)).toEqual(y);
    expect(other.saved[0]!.text).toMatch(/^{"NT 512×32×64 bf16":"(narrow|wide)"}$/);
    const trusting = await createCudaBackend({ tuning: memory(saved[0]!.text).store });
    expect(await product(trusting, 512, 32)).not.toEqual(y);
    await careful.close();
    await trusting.close();
    delete process.env.SLAYER_HOST_DRIVER;
  });

  it("are within the tolerances of the conformance cases, bf16, every layout, with and without addend", async () => {
    const names = ["matmul", "matmul_add", "matmul_accumulate"];
    const products = cases.filter(({ op, storage, bench }) => names.includes(op) && storage === "bf16" && !bench);
    // Whatever the class of a product, and of nothing else.
    const extents = Array.from({ length: 12 }, (_, i) => 2 ** i);
    const classes = ["NN", "NT", "TN", "TT"].flatMap((layout) =>
      extents.flatMap((m) => extents.flatMap((n) => extents.map((k) => `${layout} ${m}×${n}×${k}`))),
    );
    const all = classes.flatMap((name) => ["f32", "bf16"].map((type) => [`${name} ${type}`, "cublasLt"]));
    const { store, saved } = memory(JSON.stringify(Object.fromEntries(all)));
    const backend = await createCudaBackend({ tuning: store });
    const wrong = [];
    for (const kernelCase of products) {
      const result = await runCase(backend, kernelCase);
      if (result.status !== "passed") wrong.push([kernelCase.name, result]);
    }
    await backend.close();
    expect(products.length).toBeGreaterThan(30);
    expect(wrong).toEqual([]);
    expect(saved).toEqual([]);
  });
});
