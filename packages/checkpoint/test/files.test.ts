import { openAsBlob } from "node:fs";
import { mkdtemp, readdir, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Checkpoint, type CheckpointError, CheckpointWriter, chosenFiles, encodeFromF32 } from "@slayer/checkpoint";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "files-"));
});
afterEach(() => rm(dir, { recursive: true }));

/** The directory's files as a browser hands them out. */
async function chosen(): Promise<(Blob & { name: string })[]> {
  const names = await readdir(dir);
  return Promise.all(names.map(async (name) => Object.assign(await openAsBlob(join(dir, name)), { name })));
}

const size = (files: (Blob & { name: string })[]) => files.find(({ name }) => name === "model.safetensors")!.size;

const failure = (opening: Promise<unknown>) =>
  opening.then(
    () => undefined,
    (error: unknown) => error as CheckpointError,
  );

describe("chosen files", () => {
  it.each([
    ["one file", Infinity],
    ["shards", 4096],
  ])("hold what the directory holds, bit for bit: %s", async (_, maxShardBytes) => {
    await writeTinyCheckpoint(dir, { blocks: 2 });
    if (maxShardBytes < Infinity) await shard(maxShardBytes);
    const onDisk = await Checkpoint.open(dir);
    const opened = await Checkpoint.open(chosenFiles(await chosen(), "picked"));
    opened.validate();
    expect(opened.config).toEqual(onDisk.config);
    expect(opened.files).toEqual(onDisk.files);
    expect(opened.files.length > 1).toBe(maxShardBytes < Infinity);
    for (const name of onDisk.tensors.keys()) {
      expect(await opened.read(name)).toEqual(await onDisk.read(name));
      expect(await opened.readRange(name, 4, 12)).toEqual(await onDisk.readRange(name, 4, 12));
    }
    expect(opened.info("model.norm.weight").file).toMatch(/^picked\/model/);
    await onDisk.close();
    await opened.close();
  });

  it("without a file that is needed, or with one that is cut off, are refused as a directory is", async () => {
    expect((await failure(Checkpoint.open(chosenFiles([]))))?.message).toMatch(/^chosen files\/config\.json: /);
    await writeTinyCheckpoint(dir, { blocks: 1 });
    const whole = await chosen();
    const only = (names: RegExp) => chosenFiles(whole.filter(({ name }) => names.test(name)));
    expect((await failure(Checkpoint.open(only(/config/))))?.code).toBe("missing-file");
    await truncate(join(dir, "model.safetensors"), size(whole) - 8);
    expect((await failure(Checkpoint.open(chosenFiles(await chosen()))))?.code).toBe("offset-out-of-range");
  });

  it("that change after they were chosen fail to be read instead of giving other values", async () => {
    await writeTinyCheckpoint(dir, { blocks: 1 });
    const opened = await Checkpoint.open(chosenFiles(await chosen()));
    await truncate(join(dir, "model.safetensors"), 3000);
    await expect(opened.read("model.norm.weight")).rejects.toThrow();
  });
});

/** Replaces the one file by shards with an index. */
async function shard(maxShardBytes: number): Promise<void> {
  const whole = await Checkpoint.open(dir);
  const specs = [...whole.tensors.values()].map(({ name, shape }) => ({ name, shape, dtype: "F32" as const }));
  const values = new Map<string, Float32Array>();
  for (const { name } of specs) values.set(name, await whole.readF32(name));
  await whole.close();
  await rm(join(dir, "model.safetensors"));
  const writer = await CheckpointWriter.create(dir, specs, { maxShardBytes });
  for (const { name } of specs) await writer.write(name, encodeFromF32(values.get(name)!, "F32"));
  await writer.finish();
}
