import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { Checkpoint } from "@slayer/checkpoint";
import { applyDelta, expand, packDelta, planRecipe } from "@slayer/surgery";
import type { BaseOptions, Stored } from "./checkpoints.js";
import { readTensors, writeBase, writeSafetensors } from "./checkpoints.js";

const root = await mkdtemp(join(tmpdir(), "surgery-delta-"));
afterAll(() => rm(root, { recursive: true, force: true }));

async function open<T>(dirs: readonly string[], body: (...checkpoints: Checkpoint[]) => Promise<T>): Promise<T> {
  const checkpoints = await Promise.all(dirs.map((dir) => Checkpoint.open(dir)));
  try {
    return await body(...checkpoints);
  } finally {
    for (const checkpoint of checkpoints) await checkpoint.close();
  }
}

let count = 0;
/** A base, its expansion, and that expansion "trained": every tensor of its trainable blocks changed. */
async function trained(recipe: string, options: BaseOptions = {}, maxShardBytes?: number) {
  const dir = join(root, `case-${(count += 1)}`);
  const at = (name: string): string => join(dir, name);
  await writeBase(at("base"), options);
  const plan = await open([at("base")], async (base) => {
    const made = planRecipe(recipe, base!.config);
    await expand(base!, made, at("model"), maxShardBytes === undefined ? {} : { maxShardBytes });
    return made;
  });
  const changed = new Set<string>();
  for (const file of (await readdir(at("model"))).filter((name) => name.endsWith(".safetensors"))) {
    const bytes = await readFile(at(`model/${file}`));
    const begin = 8 + Number(bytes.readBigUInt64LE());
    const header = JSON.parse(bytes.subarray(8, begin).toString()) as Record<
      string,
      { data_offsets: [number, number] }
    >;
    for (const [name, { data_offsets: place }] of Object.entries(header).slice(1)) {
      const block = Number(/layers\.(\d+)\./.exec(name)?.[1] ?? -1);
      if (!plan.trainable.blocks.includes(block)) continue;
      changed.add(name);
      bytes[begin + place[0] + 1]! ^= 0x15; // the last byte of a number, so that it stays finite enough
    }
    await writeFile(at(`model/${file}`), bytes);
  }
  return { at, plan, changed };
}

async function sameDirectory(a: string, b: string): Promise<void> {
  const names = (await readdir(a)).sort();
  expect((await readdir(b)).sort()).toEqual(names);
  for (const name of names)
    expect(Buffer.compare(await readFile(join(a, name)), await readFile(join(b, name))), name).toBe(0);
}

describe("packed and unpacked again, the directory is the same byte for byte", () => {
  test.each([
    ["slayer", {}, undefined],
    ["llama-pro", { dtype: "BF16", shards: 3 }, 700],
    ["slayer", { json: { tie_word_embeddings: true, attention_bias: true, mlp_bias: true } }, 3000],
    ["solar", { json: { model_type: "mistral", architectures: null, head_dim: 6 } }, undefined],
  ] as [string, BaseOptions, number | undefined][])("%s, %o", async (recipe, options, maxShardBytes) => {
    const { at, changed } = await trained(recipe, options, maxShardBytes);
    const result = await open([at("base"), at("model")], (base, model) => packDelta(base!, model!, at("delta")));
    expect(new Set((await readTensors(at("delta"))).keys())).toEqual(changed);
    expect(result.stored.tensors).toBe(changed.size);
    expect((await readdir(at("delta"))).sort()).toContain("delta.json");
    expect(await readdir(at("delta"))).not.toContain("config.json");
    await open([at("base")], (base) => applyDelta(base!, at("delta"), at("again")));
    await sameDirectory(at("model"), at("again"));
  });

  test("what was not trained is in the base, wherever it stands there; zeros are not", async () => {
    const { at } = await trained("llama-pro");
    await open([at("base")], (base) => expand(base!, planRecipe("llama-pro", base!.config), at("untrained")));
    const { delta, stored } = await open([at("base"), at("untrained")], (base, model) =>
      packDelta(base!, model!, at("delta")),
    );
    expect(stored.tensors).toBe(4); // o_proj and down_proj of two new blocks
    const entry = delta.files[0]!.tensors.find(({ name }) => name === "model.layers.9.mlp.up_proj.weight");
    expect(entry?.base).toBe("model.layers.7.mlp.up_proj.weight");
  });
});

describe("what is wrong is found, named, and leaves nothing", async () => {
  const { at } = await trained("slayer", { dtype: "BF16" });
  await open([at("base"), at("model")], (base, model) => packDelta(base!, model!, at("delta")));
  let copies = 0;
  const copy = async (name: string): Promise<string> => {
    const to = at(`${name}-${(copies += 1)}`);
    await cp(at(name), to, { recursive: true, verbatimSymlinks: true });
    return to;
  };
  const applied = (base: string, delta: string) =>
    open([base], (checkpoint) => applyDelta(checkpoint!, delta, at("out")));
  const edited = async (dir: string, edit: (tensors: Map<string, Stored>) => void): Promise<string> => {
    const tensors = await readTensors(dir);
    edit(tensors);
    await writeSafetensors(join(dir, "model.safetensors"), tensors);
    return dir;
  };
  const flip = (tensors: Map<string, Stored>, name: string): void => {
    tensors.get(name)!.bytes[3]! ^= 1;
  };
  const editedJson = async (edit: (delta: any) => void): Promise<string> => {
    const dir = await copy("delta");
    const json = JSON.parse(await readFile(join(dir, "delta.json"), "utf8"));
    edit(json);
    await writeFile(join(dir, "delta.json"), JSON.stringify(json));
    return dir;
  };

  test.each([
    ["one bit of a base tensor that is used", "model.layers.0.mlp.up_proj.weight", /is this the base/],
    ["one bit of the embedding", "model.embed_tokens.weight", /is this the base/],
  ])("another base: %s", async (_, tensor, message) => {
    const base = await edited(await copy("base"), (tensors) => flip(tensors, tensor));
    await expect(applied(base, at("delta"))).rejects.toMatchObject({ code: "bad-delta", tensor });
    await expect(applied(base, at("delta"))).rejects.toThrow(message);
  });

  test("a change of a base tensor that the model does not use is none", async () => {
    const base = await edited(await copy("base"), (tensors) => flip(tensors, "model.layers.5.mlp.up_proj.weight"));
    await applied(base, at("delta"));
    await sameDirectory(at("model"), at("out"));
    await rm(at("out"), { recursive: true });
  });

  test("a base of another depth, or width", async () => {
    await writeBase(at("shallow"), { dtype: "BF16", json: { num_hidden_layers: 4 } });
    await writeBase(at("wide"), { dtype: "BF16", json: { intermediate_size: 16 } });
    await expect(applied(at("shallow"), at("delta"))).rejects.toThrow(/it is missing; is this the base/);
    await expect(applied(at("wide"), at("delta"))).rejects.toThrow(/expected BF16 .* is this the base/);
  });

  test("damage: a stored tensor, a carried file, a missing one, an extra tensor", async () => {
    const name = "model.layers.2.mlp.up_proj.weight";
    const bit = await edited(await copy("delta"), (tensors) => flip(tensors, name));
    await expect(applied(at("base"), bit)).rejects.toMatchObject({ code: "bad-delta", tensor: name });
    const extra = await edited(await copy("delta"), (tensors) => tensors.set("x", { ...tensors.get(name)! }));
    await expect(applied(at("base"), extra)).rejects.toMatchObject({ code: "bad-delta", tensor: "x" });
    const config = await copy("delta");
    await writeFile(join(config, "files", "config.json"), "{}");
    await expect(applied(at("base"), config)).rejects.toThrow(/config\.json: its SHA-256/);
    await rm(join(config, "files", "config.json"));
    await expect(applied(at("base"), config)).rejects.toMatchObject({ code: "missing-file" });
  });

  test.each([
    ["a file outside the directory", (d: any) => (d.files[0].file = "../x.safetensors")],
    ["a carried file outside", (d: any) => (d.carried["../config.json"] = "0".repeat(64))],
    ["a carried file that is code", (d: any) => (d.carried["modeling.py"] = "0".repeat(64))],
    ["a tensor twice", (d: any) => d.files[0].tensors.push(d.files[0].tensors[0])],
    ["a shape that is not the stored one", (d: any) => d.files[0].tensors.find((t: any) => !t.base).shape.push(1)],
    ["a dtype of the future", (d: any) => (d.files[0].tensors[0].dtype = "F4")],
    ["an unknown field", (d: any) => (d.more = 1)],
    ["another version", (d: any) => (d.version = 2)],
  ])("a hostile delta.json: %s", async (_, edit) => {
    await expect(applied(at("base"), await editedJson(edit))).rejects.toMatchObject({ code: "bad-delta" });
  });

  test("nothing is left of all this, and inputs are safe from overwriting", async () => {
    const names = await readdir(at("."));
    expect(names.filter((name) => name.startsWith(".") || name.startsWith("out"))).toEqual([]);
    for (const dir of ["base", "delta"]) {
      const overwriting = open([at("base")], (base) => applyDelta(base!, at("delta"), at(dir), { overwrite: true }));
      await expect(overwriting).rejects.toThrow(/choose another directory/);
    }
  });

  test("an abort leaves nothing", async () => {
    const controller = new AbortController();
    const onProgress = (): void => controller.abort();
    const { signal } = controller;
    await open([at("base"), at("model")], async (base, model) => {
      await expect(packDelta(base!, model!, at("out"), { signal, onProgress })).rejects.toThrow(/abort/i);
      await expect(applyDelta(base!, at("delta"), at("out"), { signal })).rejects.toThrow(/abort/i);
    });
    expect((await readdir(at("."))).filter((name) => /^(\.|out)/.test(name))).toEqual([]);
  });
});
