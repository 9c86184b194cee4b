import { spawnSync } from "node:child_process";
import { mkdtempSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { createCudaBackend, CudaUnavailableError } from "@slayer/backend-cuda";
import {
  accumulate,
  type Backend,
  type Buffer,
  embedding,
  fill,
  Graph,
  lmHeadLoss,
  matmul,
  OutOfMemoryError,
  Program,
  Store,
  sum,
} from "@slayer/tensor";
import { afterEach, describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

const environment = missing === undefined ? hostEnvironment() : {};
Object.assign(process.env, environment);
const open: Backend[] = [];
afterEach(async () => {
  for (const backend of open.splice(0)) await backend.close();
  delete process.env.SLAYER_HOST_DRIVER;
});
const create = async () => {
  open.push(await createCudaBackend());
  return open.at(-1)!;
};

/** A device that is as the host's driver is told, see kernels/cuda-host/driver.cc. */
const createOn = async (machine: string) => {
  process.env.SLAYER_HOST_DRIVER = machine;
  return create();
};

/** A folder of kernels that CUDA 13.0 has compiled. */
const of13 = mkdtempSync(join(tmpdir(), "slayer-kernels-"));
writeFileSync(join(of13, "host.fatbin"), "not empty");
writeFileSync(join(of13, "cuda-version"), "13.0");

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
    // After an update of the driver, until the machine starts anew: not a machine without a GPU.
    [{ SLAYER_HOST_DRIVER: "init=803" }, "no-driver", /driver does not start: CUDA_ERROR_SYSTEM_DRIVER_MISMATCH/],
    [{ SLAYER_HOST_DRIVER: "version=11080" }, "old-driver", /for CUDA 11.8; one for CUDA 12.0/],
    [{ SLAYER_HOST_DRIVER: "devices=0" }, "no-device", /finds no GPU/],
    [{ SLAYER_HOST_DRIVER: "major=7" }, "wrong-architecture", /capability 7.0\) is too old: compute capability 8.0/],
    [
      { SLAYER_CUDA_KERNELS: mkdtempSync(join(tmpdir(), "slayer-none-")) },
      "no-kernels",
      /no compiled kernels in .*pnpm build:kernels/,
    ],
    // Kernels that do not load: of a newer CUDA than the driver's (as binaries, or the PTX among them), of another device, broken.
    [
      { SLAYER_HOST_DRIVER: "version=12020,image=200", SLAYER_CUDA_KERNELS: of13 },
      "old-driver",
      /driver, for CUDA 12.2, is older than the kernels .*one for CUDA 13.0 or later, .*cuda-compat-13-0, .*INVALID_IMAGE/,
    ],
    [
      { SLAYER_HOST_DRIVER: "version=12080,function=209", SLAYER_CUDA_KERNELS: of13 },
      "old-driver",
      /driver, for CUDA 12.8, is older .*\(attention_mma_64: CUDA_ERROR_NO_BINARY_FOR_GPU/,
    ],
    [{ SLAYER_HOST_DRIVER: "version=12080,image=222" }, "old-driver", /for CUDA 12.8, is older .*install a newer one/],
    [
      { SLAYER_HOST_DRIVER: "image=209", SLAYER_CUDA_KERNELS: of13 },
      "wrong-architecture",
      /no kernels for host executor \(compute capability 8.0\): .*NO_BINARY_FOR_GPU/,
    ],
    [
      { SLAYER_HOST_DRIVER: "image=200", SLAYER_CUDA_KERNELS: of13 },
      "no-kernels",
      /do not load: host.fatbin: CUDA_ERROR_INVALID_IMAGE/,
    ],
  ])("%j: %s", (changed, reason, message) => {
    expect(unavailable(changed)).toEqual({ reason, message: expect.stringMatching(message) });
  });
});

/** What support/lost.mjs prints, and how it ended. */
function afterFailure(steps: number, changed: Record<string, string>) {
  const script = fileURLToPath(new URL("./support/lost.mjs", import.meta.url));
  const env = { ...process.env, ...environment, ...changed };
  const { stdout, stderr, status } = spawnSync(process.execPath, [script, `${steps}`], { env, encoding: "utf8" });
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  return JSON.parse(stdout) as Record<string, string>;
}

describe.skipIf(missing !== undefined)(`a kernel that fails${note}`, () => {
  it.each([
    [
      "step 2, kernel accumulate_f32_f32: CUDA_ERROR_ILLEGAL_ADDRESS",
      4,
      { SLAYER_HOST_DRIVER: "illegal=3", SLAYER_CUDA_SYNC: "1" },
    ],
    [
      "steps 0 to 3 of the plan (fill_f32, accumulate_f32_f32; SLAYER_CUDA_SYNC=1 ",
      4,
      { SLAYER_HOST_DRIVER: "illegal=3" },
    ],
    // Of graphs of 256 launches the first is known to have ended.
    [
      "steps 256 to 767 of the plan (accumulate_f32_f32; SLAYER_CUDA_SYNC=1 ",
      1000,
      { SLAYER_HOST_DRIVER: "illegal=300" },
    ],
  ])(
    "is named (%s), and so it is by all that is asked of the GPU later; the process works on",
    (cause, steps, changed) => {
      const {
        "allocate meanwhile": meanwhile,
        run,
        "run again": again,
        read,
        write,
        allocate,
        prepare,
        "another backend": another,
        ...others
      } = afterFailure(steps, changed);
      expect(run).toMatch(
        /^DeviceLostError: cuda: .*CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered; the GPU can no/,
      );
      expect(run).toContain(cause);
      // Whoever meets the failure first: the run's own error names the kernel, and is what is kept.
      expect(meanwhile).toMatch(
        /^DeviceLostError: cuda: (the GPU can no longer be used by this process, since .*kernel|(allocating|clearing) memory: .* \(if it is of a run under way, the run names the kernel\); the GPU can no)/,
      );
      for (const later of [again, read, write, allocate, prepare, another]) {
        expect(later).toMatch(
          /^DeviceLostError: cuda: the GPU can no longer be used by this process, since .*go on from there/,
        );
        expect(later).toContain(cause);
      }
      expect(others).toEqual({ free: "works", close: "works", "other kinds of backends": "works" });
    },
  );
});

describe.skipIf(missing !== undefined)(`errors of the CUDA backend${note}`, () => {
  it("a device that is not there", async () => {
    await expect(createCudaBackend({ device: 1 })).rejects.toThrow(CudaUnavailableError);
    await expect(createCudaBackend({ device: -1 })).rejects.toThrow(/device must be an integer from 0, got -1/);
  });

  it("what C++ throws that nobody has thought of is an error, and not the end of the process", async () => {
    const folder = mkdtempSync(join(tmpdir(), "slayer-kernels-"));
    writeFileSync(join(folder, "host.fatbin"), "not empty");
    symlinkSync("src", join(folder, "src")); // whether that exists is more than the file system can say
    process.env.SLAYER_CUDA_KERNELS = folder;
    try {
      await expect(create()).rejects.toThrow(/^cuda: .*Too many levels of symbolic links/);
    } finally {
      Object.assign(process.env, environment);
    }
    await create();
  });

  it.each([8, 9, 10])("kernels of Hopper's alone are loaded there alone: compute capability %i.0", async (major) => {
    const folder = mkdtempSync(join(tmpdir(), "slayer-kernels-"));
    writeFileSync(join(folder, "host.fatbin"), "not empty");
    writeFileSync(join(folder, "host_wgmma.fatbin"), "9.0 alone");
    process.env.SLAYER_CUDA_KERNELS = folder;
    try {
      const { capabilities } = await createOn(`major=${major}`);
      expect(capabilities.device).toBe(`host executor (compute capability ${major}.0)`);
    } finally {
      Object.assign(process.env, environment);
    }
  });

  it("no memory for the kernels", async () => {
    await expect(createOn("image=2")).rejects.toThrow(OutOfMemoryError);
    await expect(createOn("image=2")).rejects.toThrow(/no memory for the kernels: host.fatbin/);
  });

  it("memory that is not there: what was asked for, what is free, held, and there in all", async () => {
    const backend = await createOn("memory=268435456"); // 0.25 GiB
    expect(() => backend.allocate(2 ** 40)).toThrow(/one buffer of 1024.00 GiB: this backend holds 0.00 GiB of 0.25/);
    backend.allocate(2 ** 26);
    const most = () => backend.allocate(2 ** 28);
    expect(most).toThrow(OutOfMemoryError);
    expect(most).toThrow(
      /no memory for 0.25 GiB \(0.19 GiB of the device's 0.25 GiB are free\): CUDA_ERROR_OUT_OF_MEMORY.*holds 0.06 GiB of 0.25/,
    );
  });

  it("what others hold of the device's memory is not promised", async () => {
    const backend = await createOn("memory=268435456");
    expect(backend.capabilities.maxBufferBytes).toBe(2 ** 28);
    backend.allocate(2 ** 26);
    expect((await create()).capabilities.maxBufferBytes).toBe(2 ** 28 - 2 ** 26);
  });

  it("a plan that does not fit: its memory by component; nothing stays allocated, and a smaller one runs", async () => {
    const backend = await createOn("memory=67108864");
    const held = new Set<Buffer>();
    const watched: Backend = {
      ...backend,
      allocate(bytes) {
        const buffer = backend.allocate(bytes);
        held.add(buffer);
        return buffer;
      },
      free(buffer) {
        held.delete(buffer);
        backend.free(buffer);
      },
    };
    const store = new Store(watched);
    store.add({ name: "w", shape: [256, 256], dtype: "f32" });
    const compile = (tokens: number) => {
      const graph = new Graph();
      const x = graph.input("x", [tokens, 256], "f32");
      return Program.compile(graph, { y: sum(matmul(x, graph.parameter("w", [256, 256]))) }, store);
    };
    const large = compile(2 ** 15); // 32 MiB of inputs, and as many of intermediates
    await expect(large).rejects.toThrow(OutOfMemoryError);
    await expect(large).rejects.toThrow(
      /needs parameters 0.3 MiB, state 0.0 MiB, intermediates 32.\d MiB, inputs 32.0 MiB, workspace 0.\d MiB; most .* alive at step 1, sum/,
    );
    expect(held.size).toBe(1);
    const small = await compile(4);
    await small.run({ x: new Float32Array(4 * 256) });
    expect([...(await small.read("y"))]).toEqual([0]);
  });

  it("a workspace that does not fit is said to be one", async () => {
    const backend = await createOn("memory=67108864");
    const graph = new Graph();
    const h = graph.input("h", [128, 4], "f32");
    const nll = lmHeadLoss(h, graph.parameter("head", [131072, 4]), graph.input("targets", [128], "i32"));
    const store = new Store(backend);
    store.add({ name: "head", shape: [131072, 4], dtype: "f32" });
    // 128 rows of 131072 logits.
    await expect(Program.compile(graph, { nll }, store)).rejects.toThrow(
      /workspace of the plan \(panels of logits, partial sums\): no memory for 0.06 GiB .*; the plan needs parameters 2.0 MiB, .* workspace 64.0 MiB;/,
    );
  });

  it("plans share their workspace: a second one of the same size fits where there is no room for two", async () => {
    const backend = await createOn("memory=100663296"); // 96 MiB
    const store = new Store(backend);
    store.add({ name: "head", shape: [131072, 4], dtype: "f32" });
    const compile = (seed: number) => {
      const graph = new Graph();
      const h = fill(graph.input("any", [1], "f32"), [128, 4], seed);
      const nll = lmHeadLoss(h, graph.parameter("head", [131072, 4]), graph.input("targets", [128], "i32"));
      return Program.compile(graph, { nll }, store);
    };
    const programs = [await compile(1), await compile(2)]; // 64 MiB of workspace
    for (const program of programs) {
      await program.run({ targets: new Int32Array(128) });
      const nll = await program.read("nll");
      expect(nll.every((x) => Math.abs(x - Math.log(131072)) < 1e-4)).toBe(true); // the head is zero
    }
  });

  it("a closed backend gives its memory back, workspace too", async () => {
    const backend = await createOn("memory=100663296"); // 96 MiB
    const graph = new Graph();
    const h = graph.input("h", [128, 4], "f32");
    const nll = lmHeadLoss(h, graph.parameter("head", [131072, 4]), graph.input("targets", [128], "i32"));
    const store = new Store(backend);
    store.add({ name: "head", shape: [131072, 4], dtype: "f32" });
    const program = await Program.compile(graph, { nll }, store); // 64 MiB of workspace
    await backend.close();
    const other = await create();
    expect(() => other.allocate(90 * 2 ** 20)).not.toThrow();
    expect(program.plan.steps.length).toBe(1); // the program is still there
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

  it.each([40, 41])(
    "a logit that is not a number: so is the loss, where a thread of the row has no others (V = %i)",
    async (V) => {
      const graph = new Graph();
      const head = graph.parameter("head", [V, 1]);
      const nll = lmHeadLoss(graph.input("h", [1, 1], "f32"), head, graph.input("targets", [1], "i32"));
      const store = new Store(await create());
      store.add({ name: "head", shape: head.shape, dtype: "f32" });
      await store.write("head", new Float32Array(V).fill(NaN, 4, 8));
      const program = await Program.compile(graph, { nll }, store);
      await program.run({ h: Float32Array.of(1), targets: Int32Array.of(0) });
      expect([...(await program.read("nll"))]).toEqual([NaN]);
    },
  );

  it("attention without heads is not supported, and nothing is divided by their number", async () => {
    const backend = await create();
    const q = { shape: [1, 4, 8], dtype: "f32" } as const;
    const attrs = { heads: 0, kvHeads: 0, scale: 1, window: 0, segments: false, offset: false };
    const outputs = [q, { shape: [1, 1, 4], dtype: "f32" } as const];
    expect(backend.supports({ op: "attention", attrs, inputs: [q, q, q], outputs })).toBe(
      "cuda: heads are not a multiple of kvHeads",
    );
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
