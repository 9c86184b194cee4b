import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { Checkpoint } from "@slayer/checkpoint";
import { applyDelta, expand, packDelta, planCustom, verify } from "@slayer/surgery";
import type { BlockPlan } from "@slayer/surgery";
import type { Dtype, Stored } from "./checkpoints.js";
import { decode, encode, mean, readTensors, writeBase } from "./checkpoints.js";

const root = await mkdtemp(join(tmpdir(), "surgery-property-"));
afterAll(() => rm(root, { recursive: true, force: true }));

/** Any geometry of either family: heads that share keys, heads of their own size, biases, tied or not. */
const geometry = fc
  .record({
    family: fc.constantFrom("llama", "mistral"),
    depth: fc.integer({ min: 1, max: 7 }),
    kv: fc.integer({ min: 1, max: 2 }),
    group: fc.integer({ min: 1, max: 3 }),
    headDim: fc.constantFrom(2, 4, 6),
    hidden: fc.integer({ min: 1, max: 9 }),
    ffn: fc.integer({ min: 1, max: 9 }),
    vocab: fc.integer({ min: 3, max: 12 }),
    tied: fc.boolean(),
    attention: fc.boolean(),
    mlp: fc.boolean(),
    dtype: fc.constantFrom<Dtype>("F32", "BF16", "F16"),
    shards: fc.integer({ min: 1, max: 3 }),
  })
  .map((g) => ({
    ...g,
    json: {
      model_type: g.family,
      architectures: null,
      num_hidden_layers: g.depth,
      num_attention_heads: g.kv * g.group,
      num_key_value_heads: g.kv,
      head_dim: g.headDim,
      hidden_size: g.hidden,
      intermediate_size: g.ffn,
      vocab_size: g.vocab,
      tie_word_embeddings: g.tied,
      ...(g.family === "llama" ? { attention_bias: g.attention, mlp_bias: g.mlp } : {}),
    },
  }));

type Geometry = typeof geometry extends fc.Arbitrary<infer T> ? T : never;

/** Any surgery on a model of this depth: blocks that go, come and start anew, means and other sums, zeros or none. */
function surgery({ depth }: Geometry) {
  const block = fc.integer({ min: 0, max: depth - 1 });
  const some = fc.uniqueArray(block, { minLength: 1, maxLength: 3 });
  const weighted = some.chain((blocks) =>
    fc.tuple(
      ...blocks.map((b) => fc.record({ block: fc.constant(b), weight: fc.double({ min: -2, max: 2, noNaN: true }) })),
    ),
  );
  const sources = fc.oneof(some, weighted);
  const zeroed = fc.constantFrom("branches" as const, "none" as const, ["mlp.up_proj.weight"]);
  return fc.record({
    remove: depth === 1 ? fc.constant<number[]>([]) : fc.uniqueArray(block, { maxLength: 1 }),
    insert: fc.array(fc.record({ after: fc.integer({ min: -1, max: depth - 1 }), sources, zeroed }), { maxLength: 4 }),
    update: fc.uniqueArray(fc.record({ block, sources, zeroed }), { selector: (entry) => entry.block, maxLength: 2 }),
  });
}

/** A tensor of a new block from the base's, in f64, rounded to f32 and then to the dtype. */
function wantedTensor(base: Map<string, Stored>, { sources, zeroed }: BlockPlan, suffix: string): Uint8Array {
  const from = sources.map(({ block }) => base.get(`model.layers.${block}.${suffix}`) as Stored);
  const { dtype, bytes } = from[0] as Stored;
  if (zeroed.includes(suffix)) return new Uint8Array(bytes.length);
  if (from.length === 1 && sources[0]?.weight === 1) return bytes;
  if (sources.every(({ weight }) => weight === 1 / from.length)) return mean(from);
  const values = from.map((tensor) => decode(dtype, tensor.bytes));
  // From the first product on, not from 0: a sum of negative zeros is one.
  const products = (i: number): number[] => sources.map(({ weight }, s) => weight * (values[s]?.[i] as number));
  const sum = (i: number): number => products(i).reduce((total, product) => total + product);
  return encode(
    dtype,
    Array.from(values[0] as number[], (_, i) => sum(i)),
  );
}

let runs = 0;

test("any geometry, any surgery: every tensor as recomputed in f64 and rounded once, bit for bit; verified; as a delta too", async () => {
  const cases = geometry.chain((g) => fc.tuple(fc.constant(g), surgery(g)));
  await fc.assert(
    fc.asyncProperty(cases, async ([{ json, dtype, shards }, { remove, insert, update }]) => {
      const dir = join(root, `${(runs += 1)}`);
      const tensors = await writeBase(join(dir, "base"), { json, dtype, shards });
      const base = await Checkpoint.open(join(dir, "base"));
      const gone = new Set(remove);
      const plan = planCustom(base.config, {
        remove,
        insert,
        update: update.filter(({ block }) => !gone.has(block)),
        train: "new",
      });
      await expand(base, plan, join(dir, "out"), { maxShardBytes: 4000 });
      const got = await readTensors(join(dir, "out"));
      const outside = [...tensors.keys()].filter((name) => !name.startsWith("model.layers."));
      const suffixes = [...tensors.keys()]
        .filter((name) => name.startsWith("model.layers.0."))
        .map((name) => name.slice(15));
      expect(got.size).toBe(outside.length + plan.blocks.length * suffixes.length);
      for (const name of outside) expect(Buffer.compare(got.get(name)!.bytes, tensors.get(name)!.bytes), name).toBe(0);
      for (const block of plan.blocks) {
        for (const suffix of suffixes) {
          const name = `model.layers.${block.index}.${suffix}`;
          expect(Buffer.compare(got.get(name)!.bytes, wantedTensor(tensors, block, suffix)), name).toBe(0);
        }
      }
      const model = await Checkpoint.open(join(dir, "out"));
      expect(await verify(base, model, { plan })).toMatchObject({ ok: true, problems: [] });
      await packDelta(base, model, join(dir, "delta"));
      await applyDelta(base, join(dir, "delta"), join(dir, "again"));
      expect(await readTensors(join(dir, "again"))).toEqual(got);
      await base.close();
      await model.close();
      await rm(dir, { recursive: true });
    }),
    { numRuns: 10 },
  );
});
