import { createCudaBackend } from "@slayer/backend-cuda";
import type { Backend, TuningStore } from "@slayer/tensor";
import { afterEach, describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";
import { memory, product } from "./support/tuning.js";

// Without the library beside the host's driver, see blas.test.ts.
if (missing === undefined) Object.assign(process.env, hostEnvironment(), { SLAYER_CUBLASLT: "" });

const open: Backend[] = [];
afterEach(async () => {
  for (const backend of open.splice(0)) await backend.close();
});
async function create(tuning: TuningStore) {
  open.push(await createCudaBackend({ tuning }));
  return open.at(-1)!;
}

describe.skipIf(missing !== undefined)(`the tuner, on the host's executor${note}`, () => {
  it("measures each class of products once, takes the quicker way, and keeps it by device, driver and kernels", async () => {
    const { store, saved } = memory();
    const backend = await create(store);
    // Four tiles of 128 × 256: enough for the device's multiprocessors, so that there is a choice; of one row each, so that the
    // executor computes as much either way, and of 16 columns, where the wide tile computes twice as much.
    const y = await product(backend, 512, 32);
    await product(backend, 512, 32);
    await product(backend, 520, 40); // of the same class
    expect(saved.map(({ text }) => JSON.parse(text) as unknown)).toEqual([
      { "NT 512×32×64 bf16": expect.stringMatching(/^(narrow|wide)$/) },
    ]);
    expect(saved[0]!.key).toMatch(
      /^cuda, host executor \(compute capability 8.0\), driver 13000, kernels [0-9a-f]{16}$/,
    );
    const again = memory(saved[0]!.text);
    expect(await product(await create(again.store), 512, 32)).toEqual(y);
    expect(again.saved).toEqual([]);
  });

  it("text that it does not understand, and ways that do not exist, are measured again", async () => {
    for (const text of ["{", "7", '{"NT 512×32×64 bf16": 3}']) {
      const { store, saved } = memory(text);
      await product(await create(store), 512, 32);
      expect(saved.length).toBe(1);
    }
    const other = memory('{"NT 512×32×64 bf16": "of another version"}');
    const wanted = await product(await create(memory().store), 512, 32);
    expect(await product(await create(other.store), 512, 32)).toEqual(wanted);
  });
});
