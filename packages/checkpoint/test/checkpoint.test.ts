import { mkdir, rename, symlink, truncate } from "node:fs/promises";
import { join } from "node:path";

import { beforeEach, describe, expect, it } from "vitest";

import { Checkpoint, encodeFromF32, expectedTensors, parseConfig, TensorFiles } from "@slayer/checkpoint";

import { entry, failure, fileBytes, put, scratch, TINY } from "./files.js";

let dir: string;
beforeEach(async () => {
  dir = await scratch();
});

const SHAPES = expectedTensors(parseConfig(TINY, "config.json"));
const count = (shape: readonly number[]): number => shape.reduce((product, n) => product * n, 1);

/** A file of F32 tensors; element i of a tensor is i. */
function f32File(shapes: Iterable<readonly [string, readonly number[]]>): Uint8Array {
  const header: Record<string, object> = {};
  const data: Uint8Array[] = [];
  let begin = 0;
  for (const [name, shape] of shapes) {
    const bytes = new Uint8Array(Float32Array.from({ length: count(shape) }, (_, i) => i).buffer);
    header[name] = entry("F32", shape, begin, begin + bytes.length);
    data.push(bytes);
    begin += bytes.length;
  }
  return fileBytes({ __metadata__: { format: "pt" }, ...header }, Buffer.concat(data));
}

/** Config and one file. */
async function single(
  shapes: Iterable<readonly [string, readonly number[]]> = SHAPES,
  config: object = TINY,
): Promise<void> {
  await put(dir, "config.json", config);
  await put(dir, "model.safetensors", f32File(shapes));
}

/** Config, two shards (embedding; all others) and the index, changed as wanted. */
async function sharded(change: (map: Record<string, unknown>) => void = () => {}): Promise<void> {
  const [first, ...rest] = [...SHAPES];
  await put(dir, "config.json", TINY);
  await put(dir, "one.safetensors", f32File([first]));
  await put(dir, "two.safetensors", f32File(rest));
  const weight_map: Record<string, unknown> = { [first[0]]: "one.safetensors" };
  for (const [name] of rest) weight_map[name] = "two.safetensors";
  change(weight_map);
  await put(dir, "model.safetensors.index.json", { metadata: {}, weight_map });
}

async function opening(): Promise<{ code: string; file: string; tensor: string | undefined }> {
  const { code, file, tensor } = await failure(() => Checkpoint.open(dir));
  return { code, file, tensor };
}

describe("reading", () => {
  it("opens without reading data, and reads exactly the bytes asked for", async () => {
    await single();
    const checkpoint = await Checkpoint.open(dir);
    expect(checkpoint.bytesRead).toBe(0);
    expect(checkpoint.metadata).toEqual({ format: "pt" });
    expect([...checkpoint.tensors.keys()]).toEqual([...SHAPES.keys()]);
    const name = "model.layers.0.mlp.down_proj.weight"; // (4, 6)
    expect([...(await checkpoint.readF32(name))]).toEqual(Array.from({ length: 24 }, (_, i) => i));
    expect(checkpoint.bytesRead).toBe(96);
    const row = await checkpoint.readRange(name, 24, 48);
    expect([...new Float32Array(row.buffer)]).toEqual([6, 7, 8, 9, 10, 11]);
    expect(checkpoint.bytesRead).toBe(96 + 24);
    const part = new Float32Array(4).fill(-1);
    await checkpoint.readInto(name, 80, new Uint8Array(part.buffer, 4, 12));
    expect([...part]).toEqual([-1, 20, 21, 22]);
    await expect(checkpoint.readInto(name, 88, new Uint8Array(12))).rejects.toThrow("has bytes 0 to 96");
    expect(checkpoint.bytesRead).toBe(96 + 24 + 12);
    expect((await checkpoint.read("model.norm.weight")).length).toBe(16);
    expect(checkpoint.bytesRead).toBe(96 + 24 + 12 + 16);
    await checkpoint.close();
    expect((await checkpoint.read("model.norm.weight")).length).toBe(16); // opens again
    await checkpoint.close();
  });

  it.each([4, 7, 8, 40, 96, 1000])(
    "chunks of at most %i bytes hold whole elements and join to the tensor",
    async (size) => {
      await single();
      const checkpoint = await Checkpoint.open(dir);
      const pieces: number[] = [];
      const joined: number[] = [];
      for await (const piece of checkpoint.chunks("model.layers.0.mlp.up_proj.weight", size)) {
        pieces.push(piece.length);
        joined.push(...new Float32Array(piece.slice().buffer));
      }
      expect(joined).toEqual(Array.from({ length: 24 }, (_, i) => i));
      const whole = Math.min(96, size - (size % 4));
      expect(pieces.slice(0, -1).every((n) => n === whole)).toBe(true);
      expect(pieces.length).toBe(Math.ceil(96 / whole));
      expect(checkpoint.bytesRead).toBe(96);
      await checkpoint.close();
    },
  );

  it("refuses ranges outside the tensor, unknown names and chunks smaller than an element", async () => {
    await single();
    const checkpoint = await Checkpoint.open(dir);
    await expect(checkpoint.readRange("model.norm.weight", 0, 17)).rejects.toThrow(RangeError);
    await expect(checkpoint.readRange("model.norm.weight", -1, 4)).rejects.toThrow(RangeError);
    await expect(checkpoint.readRange("model.norm.weight", 4.5, 8)).rejects.toThrow(RangeError);
    await expect(checkpoint.chunks("model.norm.weight", 3).next()).rejects.toThrow(RangeError);
    const error = await failure(() => checkpoint.read("model.layers.2.mlp.up_proj.weight"));
    expect([error.code, error.tensor]).toEqual(["missing-tensor", "model.layers.2.mlp.up_proj.weight"]);
    await checkpoint.close();
  });

  it("widens BF16 and refuses integers as numbers", async () => {
    await put(dir, "config.json", TINY);
    const bytes = encodeFromF32(Float32Array.of(1, -2.5), "BF16");
    const header = { b: entry("BF16", [2], 0, 4), i: entry("I32", [1], 4, 8) };
    await put(dir, "model.safetensors", fileBytes(header, Buffer.concat([bytes, new Uint8Array(4)])));
    const checkpoint = await Checkpoint.open(dir);
    expect([...(await checkpoint.readF32("b"))]).toEqual([1, -2.5]);
    const error = await failure(() => checkpoint.readF32("i"));
    expect([error.code, error.tensor]).toEqual(["wrong-dtype", "i"]);
    await checkpoint.close();
  });

  it("reports a file that was cut after it was opened", async () => {
    await single();
    const checkpoint = await Checkpoint.open(dir);
    await truncate(join(dir, "model.safetensors"), checkpoint.info("lm_head.weight").end - 1);
    expect((await failure(() => checkpoint.read("lm_head.weight"))).code).toBe("truncated");
    await checkpoint.close();
  });

  it("reads several tensors at a time", async () => {
    await single();
    const checkpoint = await Checkpoint.open(dir);
    const all = await Promise.all([...SHAPES.keys()].map((name) => checkpoint.readF32(name)));
    expect(all.map((values) => values.length)).toEqual([...SHAPES.values()].map(count));
    expect(all.every((values) => values.every((v, i) => v === i))).toBe(true);
    await checkpoint.close();
  });
});

describe("shards", () => {
  it("are one set of tensors, validated like a single file", async () => {
    await sharded();
    const checkpoint = await Checkpoint.open(dir);
    checkpoint.validate();
    expect(checkpoint.files).toEqual(["one.safetensors", "two.safetensors"]);
    expect(checkpoint.info("lm_head.weight").file).toBe(join(dir, "two.safetensors"));
    expect((await checkpoint.readF32("model.embed_tokens.weight")).length).toBe(20);
    await checkpoint.close();
  });

  it.skipIf(process.platform === "win32")("may be links to elsewhere, as in the Hugging Face cache", async () => {
    await sharded();
    await mkdir(join(dir, "blobs"));
    await rename(join(dir, "two.safetensors"), join(dir, "blobs", "0a1b"));
    await symlink(join("blobs", "0a1b"), join(dir, "two.safetensors"));
    const checkpoint = await Checkpoint.open(dir);
    checkpoint.validate();
    expect((await checkpoint.readF32("model.norm.weight")).length).toBe(4);
    await checkpoint.close();
  });

  it.each([
    "../two.safetensors",
    "/etc/passwd",
    "sub/two.safetensors",
    "..",
    ".",
    "",
    "a\\b",
    "C:x",
    "a\0b",
    ".hidden",
  ])("index-outside-directory: %j", async (shard) => {
    await sharded((map) => (map["model.norm.weight"] = shard));
    const file = join(dir, "model.safetensors.index.json");
    expect(await opening()).toEqual({ code: "index-outside-directory", file, tensor: "model.norm.weight" });
  });

  it("bad-index: an entry that is no string", async () => {
    await sharded((map) => (map["model.norm.weight"] = 2));
    expect(await opening()).toMatchObject({ code: "bad-index", tensor: "model.norm.weight" });
  });

  it.each([["[]"], ["{}"], ['{"weight_map": 3}'], ['{"weight_map": {"a": NaN}}'], ["{"]])(
    "bad-index: %s",
    async (text) => {
      await sharded();
      const file = await put(dir, "model.safetensors.index.json", text);
      expect(await opening()).toEqual({ code: "bad-index", file, tensor: undefined });
    },
  );

  it("duplicate-key: a tensor twice in the index", async () => {
    await sharded();
    const file = await put(
      dir,
      "model.safetensors.index.json",
      '{"weight_map":{"a":"one.safetensors","a":"two.safetensors"}}',
    );
    expect(await opening()).toEqual({ code: "duplicate-key", file, tensor: "a" });
  });

  it("missing-file: a shard that is not there", async () => {
    await sharded((map) => (map["model.norm.weight"] = "three.safetensors"));
    expect(await opening()).toMatchObject({ code: "missing-file", file: join(dir, "three.safetensors") });
  });

  it("missing-tensor: the shard does not hold what the index says", async () => {
    await sharded((map) => (map.ghost = "one.safetensors"));
    expect(await opening()).toEqual({ code: "missing-tensor", file: join(dir, "one.safetensors"), tensor: "ghost" });
  });

  it("extra-tensor: a shard holds what the index does not list, or puts elsewhere", async () => {
    await sharded((map) => delete map["model.norm.weight"]);
    expect(await opening()).toMatchObject({ code: "extra-tensor", tensor: "model.norm.weight" });
    await sharded((map) => (map["model.norm.weight"] = "one.safetensors"));
    expect(await opening()).toMatchObject({ code: "extra-tensor", tensor: "model.norm.weight" });
  });
});

describe("validate", () => {
  const changed = (change: (map: Map<string, number[]>) => void): Map<string, number[]> => {
    const map = new Map(SHAPES);
    change(map);
    return map;
  };
  const validating = async (): Promise<{ code: string; tensor: string | undefined; message: string }> => {
    const checkpoint = await Checkpoint.open(dir);
    const { code, tensor, message } = await failure(() => checkpoint.validate());
    await checkpoint.close();
    return { code, tensor, message };
  };

  it("missing-tensor", async () => {
    await single(changed((map) => map.delete("model.layers.0.self_attn.k_proj.weight")));
    expect(await validating()).toMatchObject({
      code: "missing-tensor",
      tensor: "model.layers.0.self_attn.k_proj.weight",
    });
  });

  it.each(["model.layers.1.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias", "model.layers.00.x", "other"])(
    "extra-tensor: %s",
    async (name) => {
      await single(changed((map) => map.set(name, [1])));
      expect(await validating()).toMatchObject({ code: "extra-tensor", tensor: name });
    },
  );

  it.each([[[4, 5]], [[20]], [[5, 4, 1]]])("wrong-shape: the head as %j", async (shape) => {
    await single(changed((map) => map.set("lm_head.weight", shape)));
    const error = await validating();
    expect(error).toMatchObject({ code: "wrong-shape", tensor: "lm_head.weight" });
    expect(error.message).toContain("[5, 4]");
    expect(error.message).toContain(`[${shape.join(", ")}]`);
  });

  it("wrong-dtype: integer weights", async () => {
    await put(dir, "config.json", TINY);
    const header: Record<string, object> = {};
    let begin = 0;
    for (const [name, shape] of SHAPES) header[name] = entry("I8", shape, begin, (begin += count(shape)));
    await put(dir, "model.safetensors", fileBytes(header, begin));
    expect(await validating()).toMatchObject({ code: "wrong-dtype", tensor: "model.embed_tokens.weight" });
  });

  it("tolerates rotary buffers, and a tied model's head in the right shape only", async () => {
    const tied = { ...TINY, tie_word_embeddings: true };
    await single(
      changed((map) => map.set("model.layers.0.self_attn.rotary_emb.inv_freq", [1])),
      tied,
    );
    const checkpoint = await Checkpoint.open(dir);
    checkpoint.validate();
    await checkpoint.close();
    await single(
      changed((map) => map.delete("lm_head.weight")),
      tied,
    );
    const without = await Checkpoint.open(dir);
    without.validate();
    await without.close();
    await single(
      changed((map) => map.set("lm_head.weight", [4, 5])),
      tied,
    );
    expect(await validating()).toMatchObject({ code: "wrong-shape", tensor: "lm_head.weight" });
  });

  it("checks against another set when one is given", async () => {
    await single([["a", [2]]]);
    const checkpoint = await Checkpoint.open(dir);
    checkpoint.validate(new Map([["a", [2]]]));
    expect((await failure(() => checkpoint.validate(new Map([["a", [3]]])))).code).toBe("wrong-shape");
    await checkpoint.close();
  });
});

describe("a directory without weights", () => {
  it("missing-file names both files that were looked for", async () => {
    await put(dir, "config.json", TINY);
    const error = await failure(() => Checkpoint.open(dir));
    expect(error.code).toBe("missing-file");
    expect(error.message).toMatch(/model\.safetensors or model\.safetensors\.index\.json/);
  });

  it("an adapter's directory is told apart", async () => {
    await put(dir, "adapter_config.json", {});
    const error = await failure(() => Checkpoint.open(dir));
    expect(error.code).toBe("missing-file");
    expect(error.message).toContain("this is an adapter, not a model");
  });

  it("unsupported says how to convert pickled weights", async () => {
    await put(dir, "config.json", TINY);
    await put(dir, "pytorch_model.bin", "x");
    const error = await failure(() => Checkpoint.open(dir));
    expect(error.code).toBe("unsupported");
    expect(error.message).toContain("safe_serialization");
  });
});

it("TensorFiles reads tensors where there is no config.json", async () => {
  await put(dir, "model.safetensors", f32File([["moments.exp_avg", [3]]]));
  const files = await TensorFiles.openTensors(dir);
  expect([...(await files.readF32("moments.exp_avg"))]).toEqual([0, 1, 2]);
  expect(files.bytesRead).toBe(12);
  await files.close();
});
