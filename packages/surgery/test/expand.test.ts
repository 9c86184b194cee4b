import { lstat, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { Checkpoint } from "@slayer/checkpoint";
import { expand, planLlamaPro, planSlayer, PlanError, verify } from "@slayer/surgery";
import type { SurgeryPlan } from "@slayer/surgery";
import type { BaseOptions, Stored } from "./checkpoints.js";
import { mean, readTensors, sha256, writeBase } from "./checkpoints.js";

let root = "";
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), "surgery-expand-"));
});
afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

const opened: Checkpoint[] = [];
afterEach(async () => {
  for (const base of opened.splice(0)) await base.close();
});

let count = 0;
async function makeBase(options: BaseOptions = {}) {
  const dir = join(root, `case-${(count += 1)}`);
  const tensors = await writeBase(join(dir, "base"), options);
  const base = await Checkpoint.open(join(dir, "base"));
  opened.push(base);
  return { dir, tensors, base, out: join(dir, "out") };
}

const block = (index: number, suffix: string): string => `model.layers.${index}.${suffix}`;
const suffixes = (tensors: Map<string, Stored>): string[] =>
  [...tensors.keys()].filter((name) => name.startsWith("model.layers.0.")).map((name) => name.slice(15));
const json = async (...path: string[]): Promise<any> => JSON.parse(await readFile(join(...path), "utf8"));

/** 8 blocks under the default `slayer`, by hand: new index -> base blocks to average. */
const SLAYER_8: readonly (readonly number[])[] = [[0], [1], [1, 2], [2], [3], [3, 4], [4], [6, 7]];
const LLAMA_PRO_8: readonly (readonly number[])[] = [[0], [1], [2], [3], [3], [4], [5], [6], [7], [7]];

function expectTensors(
  got: Map<string, Stored>,
  base: Map<string, Stored>,
  blocks: readonly (readonly number[])[],
  inserted: readonly number[],
): void {
  const zeroed = /^(self_attn\.o_proj|mlp\.down_proj)\./;
  const outside = [...base.keys()].filter((name) => !name.startsWith("model.layers."));
  expect(got.size).toBe(outside.length + blocks.length * suffixes(base).length);
  for (const name of outside) expect(got.get(name)).toEqual(base.get(name));
  for (const [index, sources] of blocks.entries()) {
    for (const suffix of suffixes(base)) {
      const from = sources.map((source) => base.get(block(source, suffix)) as Stored);
      const wanted = { ...(from[0] as Stored) };
      if (inserted.includes(index) && zeroed.test(suffix)) wanted.bytes = new Uint8Array(wanted.bytes.length);
      else if (from.length > 1) wanted.bytes = mean(from);
      const { dtype, shape, bytes } = got.get(block(index, suffix)) as Stored;
      expect({ name: block(index, suffix), dtype, shape, bytes }).toEqual({ name: block(index, suffix), ...wanted });
    }
  }
}

describe("tensors, against means recomputed in f64 and rounded once: bit for bit", () => {
  test.each(["F32", "BF16", "F16"] as const)("slayer, %s", async (dtype) => {
    const { base, tensors, out } = await makeBase({ dtype });
    await expand(base, planSlayer(base.config), out);
    expectTensors(await readTensors(out), tensors, SLAYER_8, [2, 5]);
  });

  test("llama-pro, BF16 with norms in F32, from three files into many", async () => {
    const dtypeOf = (name: string) => (name.includes("norm") ? ("F32" as const) : undefined);
    const { base, tensors, out } = await makeBase({ dtype: "BF16", dtypeOf, shards: 3 });
    const { files } = await expand(base, planLlamaPro(base.config), out, { maxShardBytes: 1000 });
    const got = await readTensors(out);
    expectTensors(got, tensors, LLAMA_PRO_8, [4, 9]);
    const index = await json(out, "model.safetensors.index.json");
    const bytes = [...got.values()].reduce((sum, tensor) => sum + tensor.bytes.length, 0);
    expect(index.metadata.total_size).toBe(bytes);
    expect(new Set(Object.keys(index.weight_map))).toEqual(new Set(got.keys()));
    expect(files).toHaveLength(new Set(Object.values(index.weight_map)).size + 1);
    expect(files.length).toBeGreaterThan(5);
  });

  test("biases, GQA with an own head size, the mean of three", async () => {
    const settings = { attention_bias: true, mlp_bias: true, head_dim: 6 };
    const { base, tensors, out } = await makeBase({ json: settings, dtype: "BF16" });
    await expand(base, planSlayer(base.config, { final: "kept-mean" }), out);
    expectTensors(await readTensors(out), tensors, [...SLAYER_8.slice(0, -1), [5, 6, 7]], [2, 5]);
  });

  test("unequal weights, F32: the sum in f64 rounded once", async () => {
    const { base, tensors, out } = await makeBase();
    const plan = structuredClone(planSlayer(base.config, { prune: 0 })) as any;
    plan.blocks[2].sources = [
      { block: 1, weight: 0.7 },
      { block: 2, weight: 0.25 },
    ];
    await expand(base, plan as SurgeryPlan, out);
    const got = (await readTensors(out)).get(block(2, "mlp.up_proj.weight")) as Stored;
    const [a, b] = [1, 2].map((i) => tensors.get(block(i, "mlp.up_proj.weight")) as Stored);
    const floats = ({ bytes }: Stored): Float32Array => new Float32Array(bytes.slice().buffer);
    const wanted = floats(a as Stored).map((x, i) => 0.7 * x + 0.25 * (floats(b as Stored)[i] as number));
    expect(floats(got)).toEqual(wanted);
  });

  test("tensors of more than one 4 MiB piece, with a piece cut short at the end", async () => {
    const { base, tensors, out } = await makeBase({ json: { num_hidden_layers: 2, intermediate_size: 140_001 } });
    const plan = planSlayer(base.config, { groups: 1, groupSize: 1, prune: 0 });
    await expand(base, plan, out);
    const got = await readTensors(out);
    const [first, second] = [0, 1].map((i) => tensors.get(block(i, "mlp.up_proj.weight")) as Stored) as [
      Stored,
      Stored,
    ];
    expect(first.bytes.length).toBe(4 * 8 * 140_001);
    const wanted: readonly [string, Uint8Array][] = [
      [block(0, "mlp.up_proj.weight"), first.bytes],
      [block(1, "mlp.up_proj.weight"), mean([first, second])],
      [block(1, "mlp.down_proj.weight"), new Uint8Array(first.bytes.length)],
      [block(2, "mlp.up_proj.weight"), second.bytes],
    ];
    for (const [name, bytes] of wanted) expect(Buffer.compare((got.get(name) as Stored).bytes, bytes), name).toBe(0);
    const expanded = await Checkpoint.open(out);
    opened.push(expanded);
    expect(await verify(base, expanded, { plan })).toMatchObject({ ok: true, copied: 21, averaged: 7, zeroed: 2 });
  });

  test("tied embeddings are written once, also when the base stores them twice; rotary buffers go", async () => {
    const extra = { "lm_head.weight": [20, 8], "model.layers.0.self_attn.rotary_emb.inv_freq": [1] };
    const { base, out } = await makeBase({ json: { tie_word_embeddings: true }, extra });
    await expand(base, planLlamaPro(base.config), out);
    const names = [...(await readTensors(out)).keys()].filter(
      (name) => !/layers\.\d+\.(self_attn\.[qkvo]|mlp|\w*norm)/.test(name),
    );
    expect(names.sort()).toEqual(["model.embed_tokens.weight", "model.norm.weight"]);
  });
});

describe("the directory", () => {
  test("config, side files, card, provenance; nothing else", async () => {
    const { base, tensors, out, dir } = await makeBase({ json: { rope_theta: 5e5, transformers_version: "4.40.0" } });
    const result = await expand(base, planSlayer(base.config), out);
    const sideFiles = [
      "LICENSE",
      "chat_template.jinja",
      "generation_config.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ];
    expect((await readdir(out)).sort()).toEqual(
      ["README.md", "config.json", "model.safetensors", "provenance.json", ...sideFiles].sort(),
    );
    expect(result.sideFiles.copied).toEqual(sideFiles);
    expect(result.sideFiles.left).toEqual([
      "modeling.py",
      "pytorch_model.bin",
      "real-tokenizer-config",
      "special_tokens_map.json",
      "vocab.json",
    ]);
    for (const name of sideFiles) {
      expect(await readFile(join(out, name))).toEqual(await readFile(join(dir, "base", name)));
      expect((await lstat(join(out, name))).isFile()).toBe(true);
    }

    const before = await json(dir, "base", "config.json");
    expect(Object.entries(await json(out, "config.json"))).toEqual(
      Object.entries({ ...before, num_hidden_layers: 8 - 2 + 2 }),
    );

    const provenance = await json(out, "provenance.json");
    const got = await readTensors(out);
    expect(Object.keys(provenance.tensors).sort()).toEqual([...got.keys()].sort());
    for (const [name, tensor] of got) expect(provenance.tensors[name].sha256).toBe(sha256(tensor.bytes));
    const used = Object.keys(provenance.base.tensors);
    for (const name of used) expect(provenance.base.tensors[name]).toBe(sha256((tensors.get(name) as Stored).bytes));
    // Block 5 is replaced by the mean of 6 and 7; all else is used.
    expect(used.sort()).toEqual([...tensors.keys()].filter((name) => !name.includes("layers.5.")).sort());
    expect(provenance.blocks.map((b: any) => b.kind).join(" ")).toBe(
      "original original inserted original original inserted original updated",
    );
    expect(provenance.tensors["model.layers.2.mlp.up_proj.weight"].sources).toEqual([
      { tensor: "model.layers.1.mlp.up_proj.weight", weight: 0.5 },
      { tensor: "model.layers.2.mlp.up_proj.weight", weight: 0.5 },
    ]);
    expect(provenance.tensors["model.layers.2.mlp.down_proj.weight"]).toMatchObject({ sources: [], zeroed: true });

    const card = await readFile(join(out, "README.md"), "utf8");
    expect(card).toContain("8 blocks -> 8");
    expect(card).not.toContain(dir);
    expect(await readFile(join(out, "provenance.json"), "utf8")).not.toContain(dir);
  });

  test("the same plan on the same base gives the same bytes", async () => {
    const { base, dir } = await makeBase({ dtype: "BF16" });
    const plan = planSlayer(base.config);
    await expand(base, plan, join(dir, "a"));
    await expand(base, plan, join(dir, "b"));
    const names = await readdir(join(dir, "a"));
    expect((await readdir(join(dir, "b"))).sort()).toEqual(names.sort());
    for (const name of names) {
      expect(await readFile(join(dir, "a", name)), name).toEqual(await readFile(join(dir, "b", name)));
    }
  });

  test("every base tensor in use is read once, everything is written once; progress ends at the total", async () => {
    const { base, tensors, out } = await makeBase();
    const size = (index: number): number =>
      suffixes(tensors).reduce((sum, suffix) => sum + (tensors.get(block(index, suffix)) as Stored).bytes.length, 0);
    const outside = 4 * (20 * 8 + 8 + 20 * 8);
    const progress: [number, number][] = [];
    const result = await expand(base, planSlayer(base.config), out, { onProgress: (...args) => progress.push(args) });
    // All but block 5, which is replaced: blocks 1 to 4 are copied and averaged, 6 and 7 averaged.
    expect(result.bytesRead).toBe(outside + 7 * size(0));
    expect(result.bytesWritten).toBe(outside + 8 * size(0));
    expect((await expand(base, planSlayer(base.config), `${out}-2`)).bytesWritten).toBe(result.bytesWritten);
    expect(progress.at(-1)).toEqual([result.bytesWritten, result.bytesWritten]);
    expect(progress.every(([done], i) => i === 0 || done > (progress[i - 1]?.[0] ?? 0))).toBe(true);
  });
});

describe("refusals and interruption", () => {
  test.each([0, 1, 40, 75])("aborted after %i pieces: nothing is left, the base can be used again", async (pieces) => {
    const { base, dir, out } = await makeBase();
    const controller = new AbortController();
    let seen = 0;
    if (pieces === 0) controller.abort();
    const onProgress = (): void => {
      if ((seen += 1) === pieces) controller.abort();
    };
    const plan = planSlayer(base.config);
    await expect(expand(base, plan, out, { signal: controller.signal, onProgress })).rejects.toThrow(/abort/i);
    expect(seen).toBe(pieces);
    expect(await readdir(dir)).toEqual(["base"]);
    await expand(base, plan, out);
    expect((await readdir(dir)).sort()).toEqual(["base", "out"]);
  });

  test("an existing output is refused, and replaced when allowed", async () => {
    const { base, out } = await makeBase();
    await expand(base, planSlayer(base.config), out);
    await expect(expand(base, planLlamaPro(base.config), out)).rejects.toMatchObject({ code: "exists" });
    expect((await json(out, "config.json")).num_hidden_layers).toBe(8);
    await expand(base, planLlamaPro(base.config), out, { overwrite: true });
    expect((await json(out, "config.json")).num_hidden_layers).toBe(10);
  });

  test.each([".", "..", "../base"])("an output that is or holds the base is refused even then: %s", async (where) => {
    const { base, dir } = await makeBase();
    const target = join(dir, "base", where);
    await expect(expand(base, planSlayer(base.config), target, { overwrite: true })).rejects.toThrow(PlanError);
    expect(await readdir(join(dir, "base"))).toContain("model.safetensors");
  });

  test("a plan for another depth, unknown tensors, sources of different dtypes", async () => {
    const dtypeOf = (name: string) => (name === block(2, "input_layernorm.weight") ? ("F16" as const) : undefined);
    const { base, dir, out } = await makeBase({ dtype: "BF16", dtypeOf });
    await expect(expand(base, planSlayer({ ...base.config, blocks: 12 }), out)).rejects.toThrow(
      "the plan is for a base of 12 blocks, this model has 8",
    );
    await expect(expand(base, planSlayer(base.config), out)).rejects.toThrow(
      "model.layers.2.input_layernorm.weight: averaging needs sources of one dtype among F32, F16 and BF16",
    );
    const plan = structuredClone(planLlamaPro(base.config)) as any;
    plan.blocks[4].zeroed.push("mlp.down_proj.bias");
    await expect(expand(base, plan as SurgeryPlan, out)).rejects.toThrow('a block has no tensor "mlp.down_proj.bias"');
    await expect(expand(base, planLlamaPro(base.config), out, { maxShardBytes: 0 })).rejects.toThrow(/maxShardBytes/);
    expect(await readdir(dir)).toEqual(["base"]);
  });
});
