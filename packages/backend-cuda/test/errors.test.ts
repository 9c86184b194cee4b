import { spawnSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createCudaBackend, CudaUnavailableError } from "@slayer/backend-cuda";
import { type Backend, BackendError, embedding, fill, accumulate, Graph, Program, Store } from "@slayer/tensor";
import { afterEach, describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

const environment = missing === undefined ? hostEnvironment() : {};
Object.assign(process.env, environment);
const open: Backend[] = [];
afterEach(async () => {
  for (const backend of open.splice(0)) await backend.close();
});
const create = async () => {
  open.push(await createCudaBackend());
  return open.at(-1)!;
};

/** What `createCudaBackend` throws on a machine as described, in a process of its own: the driver is loaded once. */
function unavailable(changed: Record<string, string | undefined>): { reason: string; message: string } {
  const script = fileURLToPath(new URL("./support/open.mjs", import.meta.url));
  const { stdout, stderr } = spawnSync(process.execPath, [script], {
    env: { ...process.env, ...environment, ...changed },
    encoding: "utf8",
  });
  expect(stderr).toBe("");
  return JSON.parse(stdout) as { reason: string; message: string };
}

describe.skipIf(missing !== undefined)(`a machine where CUDA cannot be used${note}`, () => {
  it.each([
    [{ SLAYER_CUDA_DRIVER: "/nowhere/libcuda.so.1" }, "no-driver", /no NVIDIA driver: .*; install NVIDIA's driver/],
    [{ SLAYER_HOST_DRIVER: "version=11080" }, "old-driver", /for CUDA 11.8; one for CUDA 12.0/],
    [{ SLAYER_HOST_DRIVER: "devices=0" }, "no-device", /finds no GPU/],
    [{ SLAYER_HOST_DRIVER: "major=7" }, "wrong-architecture", /capability 7.0\) is too old: compute capability 8.0/],
    [
      { SLAYER_CUDA_KERNELS: mkdtempSync(join(tmpdir(), "slayer-none-")) },
      "no-kernels",
      /no compiled kernels in .*pnpm build:kernels/,
    ],
  ])("%j: %s", (changed, reason, message) => {
    expect(unavailable(changed)).toEqual({ reason, message: expect.stringMatching(message) });
  });
});

describe.skipIf(missing !== undefined)(`errors of the CUDA backend${note}`, () => {
  it("a device that is not there", async () => {
    await expect(createCudaBackend({ device: 1 })).rejects.toThrow(CudaUnavailableError);
    await expect(createCudaBackend({ device: -1 })).rejects.toThrow(/device must be an integer from 0, got -1/);
  });

  it("memory that is not there: what was asked for, what is held, what the device has, and what helps", async () => {
    const backend = await create();
    expect(() => backend.allocate(2 ** 40)).toThrow(/one buffer of 1024.00 GiB: the device has 4.00 GiB/);
    backend.allocate(2 ** 20);
    const most = () => backend.allocate(2 ** 32);
    expect(most).toThrow(BackendError);
    expect(most).toThrow(
      /no memory for 4294967296 bytes; .*CUDA_ERROR_OUT_OF_MEMORY.*holds 0.00 GiB\); a smaller micro-batch/,
    );
  });

  it("an id outside the vocabulary: step, op, value and position; the next run works", async () => {
    const backend = await create();
    const graph = new Graph();
    const y = embedding(graph.parameter("table", [4, 2]), graph.input("ids", [3], "i32"));
    const store = new Store(backend);
    store.add({ name: "table", shape: [4, 2], dtype: "f32" });
    await store.write("table", Float32Array.of(0, 1, 2, 3, 4, 5, 6, 7));
    const program = await Program.compile(graph, { y }, store);
    const wrong = program.run({ ids: Int32Array.of(1, 7, 2) });
    await expect(wrong).rejects.toThrow("cuda: step 0, embedding: the value 7 at position 1 is out of range");
    await program.run({ ids: Int32Array.of(1, 3, 0) });
    expect([...(await program.read("y"))]).toEqual([2, 3, 6, 7, 0, 1]);
  });

  it("buffers: of another backend, freed, beyond the end; a closed backend", async () => {
    const [one, other] = [await create(), await create()];
    const buffer = one.allocate(16);
    await expect(one.write(buffer, 12, new Float32Array(2))).rejects.toThrow(
      /8 bytes at 12 are beyond the buffer's 16/,
    );
    await expect(one.read(buffer, -4, 4)).rejects.toThrow(/offset must be an integer from 0, got -4/);
    await expect(one.read({ bytes: 4 }, 0, 4)).rejects.toThrow(/another backend's/);
    one.free(buffer);
    await expect(one.read(buffer, 0, 4)).rejects.toThrow(/was freed/);
    await other.close();
    expect(() => other.allocate(4)).toThrow(/closed/);
  });

  it("an abort ends a run between two graphs of its plan; memory larger than the pinned pieces comes back whole", async () => {
    const backend = await create();
    const graph = new Graph();
    const count = graph.state("count", [1]);
    const one = fill(count, [1], 1);
    for (let i = 0; i < 3000; i++) accumulate(count, one);
    const store = new Store(backend);
    store.add({ name: "count", shape: [1], dtype: "f32" });
    const program = await Program.compile(graph, {}, store);
    await program.run();
    expect((await store.read("count"))[0]).toBe(3000);
    const controller = new AbortController();
    const run = program.run({}, controller.signal);
    controller.abort(new Error("enough"));
    await expect(run).rejects.toThrow("enough");

    const large = Float32Array.from({ length: 5_000_001 }, (_, i) => i);
    store.add({ name: "large", shape: [large.length], dtype: "f32" });
    expect((await store.read("large")).every((x) => x === 0)).toBe(true);
    await store.write("large", large);
    expect((await store.read("large")).every((x, i) => x === large[i])).toBe(true);
  });
});
