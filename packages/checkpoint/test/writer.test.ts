import { open, readdir, readFile, symlink } from "node:fs/promises";
import { join } from "node:path";

import fc from "fast-check";
import { describe, expect, it } from "vitest";

import { Checkpoint, CheckpointWriter, planShards, readHeader } from "@slayer/checkpoint";
import type { TensorSpec } from "@slayer/checkpoint";

import { readFully, writeFully } from "../src/io.js";
import { failure, put, scratch, TINY } from "./files.js";

const DTYPES = { F64: 8, F32: 4, F16: 2, BF16: 2, F8_E4M3: 1, I64: 8, U8: 1, BOOL: 1 } as const;
type Name = keyof typeof DTYPES;

const anyTensor = fc
  .record({
    name: fc.string({ unit: "grapheme", minLength: 1, maxLength: 12 }).filter((name) => name !== "__metadata__"),
    dtype: fc.constantFrom(...(Object.keys(DTYPES) as Name[])),
    shape: fc.array(fc.integer({ min: 0, max: 5 }), { maxLength: 3 }),
  })
  .chain((spec) => {
    const length = spec.shape.reduce((product, n) => product * n, DTYPES[spec.dtype]);
    return fc.record({ spec: fc.constant(spec), data: fc.uint8Array({ minLength: length, maxLength: length }) });
  });

const anyCheckpoint = fc.uniqueArray(anyTensor, { selector: ({ spec }) => spec.name, maxLength: 8 });

const specs: TensorSpec[] = [
  { name: "a", dtype: "F32", shape: [2] },
  { name: "none", dtype: "F32", shape: [0] },
  { name: "7", dtype: "BF16", shape: [3] },
];

describe("CheckpointWriter", () => {
  it("what is written in pieces of any size into shards of any size is read back, byte for byte", async () => {
    await fc.assert(
      fc.asyncProperty(
        anyCheckpoint,
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 1, max: 50 }),
        async (tensors, shardBytes, piece) => {
          const dir = await scratch();
          const order = tensors.map(({ spec }) => spec);
          const writer = await CheckpointWriter.create(dir, order, { maxShardBytes: shardBytes });
          for (const { spec, data } of tensors) {
            for (let i = 0; i < data.length; i += piece) await writer.write(spec.name, data.subarray(i, i + piece));
          }
          const { files, totalBytes } = await writer.finish();
          expect((await readdir(dir)).sort()).toEqual([...files].sort());
          expect(totalBytes).toBe(tensors.reduce((sum, { data }) => sum + data.length, 0));

          await put(dir, "config.json", TINY);
          const checkpoint = await Checkpoint.open(dir);
          expect(new Set(checkpoint.tensors.keys())).toEqual(new Set(order.map(({ name }) => name)));
          for (const { spec, data } of tensors) {
            expect(checkpoint.info(spec.name)).toMatchObject({ dtype: spec.dtype, shape: spec.shape });
            expect(Buffer.compare(await checkpoint.read(spec.name), data)).toBe(0);
          }
          await checkpoint.close();
        },
      ),
      { numRuns: 60 },
    );
  });

  it("tensors in any order, mixed and many at a time, make the same files as in order (property)", async () => {
    await fc.assert(
      fc.asyncProperty(
        anyCheckpoint,
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 1, max: 50 }),
        fc.infiniteStream(fc.nat()),
        async (tensors, maxShardBytes, piece, numbers) => {
          const order = tensors.map(({ spec }) => spec);
          const [inOrder, mixed] = [await scratch(), await scratch()];
          const one = await CheckpointWriter.create(inOrder, order, { maxShardBytes });
          for (const { spec, data } of tensors) await one.write(spec.name, data);
          const wanted = await one.finish();

          const other = await CheckpointWriter.create(mixed, order, { maxShardBytes });
          const left = tensors.map(({ spec, data }) => ({ name: spec.name, data, done: 0 }));
          const writes: Promise<void>[] = [];
          for (let rest = left.filter((t) => t.data.length > 0); rest.length > 0;) {
            const tensor = rest[(numbers.next().value as number) % rest.length]!;
            writes.push(other.write(tensor.name, tensor.data.subarray(tensor.done, tensor.done + piece)));
            tensor.done += piece;
            rest = rest.filter((t) => t.done < t.data.length);
          }
          await Promise.all(writes);
          expect(await other.finish()).toEqual(wanted);
          for (const file of wanted.files) {
            expect(Buffer.compare(await readFile(join(mixed, file)), await readFile(join(inOrder, file))), file).toBe(
              0,
            );
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it("one file: header as the format asks, keys in the order given, data begin on a page", async () => {
    const dir = await scratch();
    const writer = await CheckpointWriter.create(dir, specs);
    await writer.write("a", Uint8Array.of(1, 2, 3, 4, 5));
    await writer.write("a", Uint8Array.of(6, 7, 8));
    await writer.write("none", new Uint8Array(0));
    await writer.write("7", Uint8Array.of(9, 10, 11, 12, 13, 14));
    expect(await writer.finish()).toEqual({ files: ["model.safetensors"], totalBytes: 14 });
    const bytes = await readFile(join(dir, "model.safetensors"));
    const length = Number(bytes.readBigUInt64LE());
    expect(8 + length).toBe(4096);
    const json =
      '{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},' +
      '"none":{"dtype":"F32","shape":[0],"data_offsets":[8,8]},"7":{"dtype":"BF16","shape":[3],"data_offsets":[8,14]}}';
    expect(bytes.subarray(8, 8 + length).toString()).toBe(json.padEnd(4096 - 8));
    expect([...bytes.subarray(8 + length)]).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]);
  });

  it("pieces that go straight to the disk, at every alignment of memory and file, lie where they belong (property)", async () => {
    const memory = new Uint8Array(new (globalThis as any).WebAssembly.Memory({ initial: 8 }).buffer);
    for (let i = 0; i < memory.length; i += 1) memory[i] = (i * 2654435761) >>> 24;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.constantFrom(1, 512, 4096), fc.nat(90), fc.nat(90)), { minLength: 1, maxLength: 6 }),
        async (pieces) => {
          const dir = await scratch();
          const parts = pieces.map(([unit, begin, length]) =>
            memory.subarray(begin * unit, Math.min(memory.length, begin * unit + length * unit)),
          );
          const wanted = Buffer.concat(parts);
          const writer = await CheckpointWriter.create(dir, [{ name: "t", dtype: "U8", shape: [wanted.length] }]);
          await Promise.all(parts.map((part) => writer.write("t", part)));
          await writer.finish();
          const bytes = await readFile(join(dir, "model.safetensors"));
          expect(Buffer.compare(bytes.subarray(8 + Number(bytes.readBigUInt64LE())), wanted)).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("shards: Transformers' names, an index with the exact total size, each tensor in its file", async () => {
    const dir = await scratch();
    const writer = await CheckpointWriter.create(dir, specs, { maxShardBytes: 8 });
    await writer.write("a", new Uint8Array(8));
    await writer.write("7", new Uint8Array(6));
    const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    expect((await writer.finish()).files).toEqual([...names, "model.safetensors.index.json"]);
    expect(JSON.parse(await readFile(join(dir, "model.safetensors.index.json"), "utf8"))).toEqual({
      metadata: { total_size: 14 },
      weight_map: { a: names[0], none: names[0], 7: names[1] },
    });
    expect([...(await readHeader(join(dir, names[1]))).tensors.keys()]).toEqual(["7"]);
  });

  it("a writer that fails or is aborted leaves no file", async () => {
    const actions: ((writer: CheckpointWriter) => Promise<unknown>)[] = [
      (writer) => writer.abort(),
      (writer) => writer.finish(), // nothing written yet
      (writer) => writer.write("8", new Uint8Array(1)), // no such tensor
      (writer) => writer.write("a", new Uint8Array(9)), // too much
      async (writer) => {
        await writer.write("a", new Uint8Array(8));
        await writer.write("7", new Uint8Array(5)); // in the second file
        await writer.finish(); // one byte short
      },
      async (writer) => {
        await writer.write("a", new Uint8Array(8));
        await writer.write("7", new Uint8Array(6));
        await writer.write("7", new Uint8Array(1)); // after the end
      },
      // One of several at a time fails: the others end before their files go.
      (writer) => Promise.all([8, 9].map((bytes) => writer.write("a", new Uint8Array(bytes)))),
    ];
    for (const [i, action] of actions.entries()) {
      const dir = await scratch();
      const writer = await CheckpointWriter.create(dir, specs, { maxShardBytes: 8 });
      if (i === 0) await action(writer);
      else await expect(action(writer)).rejects.toThrow(/no tensor 8|lacks|left/);
      expect(await readdir(dir)).toEqual([]);
      await expect(writer.write("a", new Uint8Array(1))).rejects.toThrow("closed");
    }
  });

  it("never touches a file that was there before", async () => {
    const dir = await scratch();
    const file = await put(dir, "model.safetensors", "precious");
    expect((await failure(() => CheckpointWriter.create(dir, specs))).code).toBe("exists");
    expect(await readFile(file, "utf8")).toBe("precious");
  });

  it.skipIf(process.platform !== "linux")("no-space: a full device (/dev/full takes no byte)", async () => {
    const dir = await scratch();
    await symlink("/dev/full", join(dir, "full"));
    const handle = await open(join(dir, "full"), "w");
    const error = await failure(() => writeFully(handle, join(dir, "full"), new Uint8Array(10)));
    await handle.close();
    expect({ code: error.code, file: error.file }).toEqual({ code: "no-space", file: join(dir, "full") });
  });
});

describe("planShards", () => {
  const sized = (...bytes: number[]): TensorSpec[] => bytes.map((n, i) => ({ name: `t${i}`, dtype: "U8", shape: [n] }));
  const sizes = (bytes: number[], max: number): number[][] =>
    planShards(sized(...bytes), max).map((shard) => shard.tensors.map((t) => t.bytes));

  it("fills files in order; a tensor larger than a file stands alone", () => {
    expect(sizes([4, 4, 4], 8)).toEqual([[4, 4], [4]]);
    expect(sizes([9, 1, 20, 1, 1], 8)).toEqual([[9], [1], [20], [1, 1]]);
    expect(sizes([], 8)).toEqual([[]]);
  });

  it("every file is within the limit or holds one tensor, and none could take the next tensor (property)", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 30 }), { maxLength: 30 }),
        fc.integer({ min: 1, max: 60 }),
        (bytes, max) => {
          const shards = sizes(bytes, max);
          const total = (shard: number[]): number => shard.reduce((sum, n) => sum + n, 0);
          expect(shards.flat()).toEqual(bytes);
          shards.forEach((shard, i) => {
            expect(total(shard) <= max || shard.length === 1).toBe(true);
            if (i + 1 < shards.length) expect(total(shard) + shards[i + 1][0]).toBeGreaterThan(max);
          });
        },
      ),
    );
  });

  it("splits Llama-2-7B in bf16 (13.5 GB) at 5 GB into three files", () => {
    const block = 202_383_360;
    const sizesOf = [131_072_000, ...Array<number>(32).fill(block), 131_072_000];
    const plan = planShards(sizesOf.map((n, i) => ({ name: `t${i}`, dtype: "BF16", shape: [n] })));
    expect(plan.map(({ file }) => file)).toEqual([1, 2, 3].map((i) => `model-0000${i}-of-00003.safetensors`));
    expect(plan.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(2 * (32 * block + 2 * 131_072_000));
  });

  it("refuses names that come twice or are reserved, and sizes beyond 2^53", async () => {
    const u8 = (name: string, shape: number[]): TensorSpec => ({ name, dtype: "U8", shape });
    expect((await failure(() => planShards([u8("a", [1]), u8("a", [1])]))).code).toBe("duplicate-key");
    expect((await failure(() => planShards([u8("__metadata__", [1])]))).code).toBe("duplicate-key");
    expect((await failure(() => planShards([u8("a", [2 ** 30, 2 ** 30])]))).code).toBe("size-overflow");
  });
});

describe("what the system says of reading and writing, as errors that name the file", () => {
  it.skipIf(process.platform !== "linux")("read-error: /proc/self/mem has no first byte to read (EIO)", async () => {
    const handle = await open("/proc/self/mem", "r");
    const error = await failure(() => readFully(handle, "model.safetensors", new Uint8Array(8), 0));
    await handle.close();
    expect({ code: error.code, file: error.file }).toEqual({ code: "read-error", file: "model.safetensors" });
    expect(error.message).toContain("EIO");
  });

  it("write-error: a file that is open for reading only (EBADF)", async () => {
    const file = await put(await scratch(), "model.safetensors", "precious");
    const handle = await open(file, "r");
    const error = await failure(() => writeFully(handle, file, new Uint8Array(8)));
    await handle.close();
    expect({ code: error.code, file: error.file }).toEqual({ code: "write-error", file });
    expect(await readFile(file, "utf8")).toBe("precious");
  });
});
