import fc from "fast-check";
import { blockDrops, type Change, sweepEvaluations } from "@slayer/importance";
import { createReferenceBackend } from "@slayer/tensor";
import { expect, it } from "vitest";
import { ALL, naiveDrops, randomModel } from "./naive.js";

const VOCABULARY = 16;

const geometries = fc.record({
  blocks: fc.integer({ min: 2, max: 4 }),
  model_type: fc.constantFrom("llama", "mistral"),
  num_attention_heads: fc.constantFrom(2, 4),
  num_key_value_heads: fc.constantFrom(1, 2),
  intermediate_size: fc.integer({ min: 3, max: 20 }),
  tie_word_embeddings: fc.boolean(),
});
const batch = fc
  .record({ batch: fc.integer({ min: 1, max: 2 }), length: fc.integer({ min: 2, max: 5 }) })
  .chain(({ batch: B, length }) =>
    fc
      .array(fc.nat(VOCABULARY - 1), { minLength: B * length, maxLength: B * length })
      .map((ids) => ({ ids: Int32Array.from(ids), batch: B, length })),
  );
const changes = fc.shuffledSubarray([...ALL] as Change[], { minLength: 1 });

it("any geometry, batches, changes, streamed or not, however many go together: the bits and the count of whole runs", async () => {
  await fc.assert(
    fc.asyncProperty(
      geometries,
      fc.array(batch, { minLength: 1, maxLength: 3 }),
      changes,
      fc.boolean(),
      fc.integer({ min: 1, max: 3 }),
      async ({ blocks, ...geometry }, batches, which, streamed, together) => {
        const { config, store } = await randomModel(blocks, createReferenceBackend(), 8, geometry);
        const read = async (name: string) => (await store.read(name)) as Float32Array;
        const weights = streamed ? { backend: createReferenceBackend(), read } : store;
        let evaluations = 0;
        const swept = await blockDrops(config, weights, { unit: "loss", batches }, which, {
          together,
          onProgress: (n) => (evaluations = n),
          resamples: 10,
        });
        expect(evaluations).toBe(batches.length * sweepEvaluations(blocks, which));
        for (const [i, change] of which.entries()) {
          const wanted = await naiveDrops(config, store, batches, change);
          expect(swept[i]!.blocks.map(({ value }) => value)).toEqual(wanted.values);
          expect(swept[i]!.base).toBe(wanted.base);
        }
      },
    ),
    { numRuns: 25 },
  );
});
