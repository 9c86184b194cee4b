import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseConfig, parameterCount } from "@slayer/checkpoint";
import type { ModelConfig } from "@slayer/checkpoint";
import { describePlan, formatPlan, planLlamaPro, planSlayer, planSolar } from "@slayer/surgery";
import { tinyConfig } from "./tiny.js";

const llama2 = parseConfig(
  {
    model_type: "llama",
    vocab_size: 32000,
    hidden_size: 4096,
    intermediate_size: 11008,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    max_position_embeddings: 4096,
    tie_word_embeddings: false,
    torch_dtype: "float16",
  },
  "config.json",
);
const mistral = parseConfig(
  {
    model_type: "mistral",
    vocab_size: 32000,
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    max_position_embeddings: 32768,
    sliding_window: 4096,
    tie_word_embeddings: false,
    torch_dtype: "bfloat16",
  },
  "config.json",
);

describe("parameter counts of the paper's models, exact", () => {
  test("llama-pro on Llama-2-7B", () => {
    const { parameters, trainable, blocks } = describePlan(planLlamaPro(llama2), llama2);
    expect({ blocks, ...parameters, trained: trainable.parameters, more: trainable.parametersWithVocabulary }).toEqual({
      blocks: 40,
      base: 6_738_415_616,
      perBlock: 202_383_360,
      vocabularyMatrix: 131_072_000,
      total: 8_357_482_496,
      trained: 1_619_066_880,
      more: 1_750_138_880,
    });
  });

  test("slayer on Llama-2-7B", () => {
    const { parameters, trainable, blocks } = describePlan(planSlayer(llama2), llama2);
    expect(blocks).toBe(38);
    expect(trainable.blocks).toHaveLength(9);
    expect(parameters.total).toBe(7_952_715_776);
    expect(trainable.parameters).toBe(1_821_450_240);
    expect(trainable.parametersWithVocabulary).toBe(1_952_522_240);
  });

  test("solar on Llama-2-7B: 48 blocks, all of them trained", () => {
    const { parameters, trainable, blocks, rows } = describePlan(planSolar(llama2), llama2);
    expect(blocks).toBe(48);
    expect(parameters.total).toBe(6_738_415_616 + 16 * 202_383_360);
    expect(trainable.parameters).toBe(48 * 202_383_360);
    expect(rows.map(({ first, last, kind, from }) => [first, last, kind, from])).toEqual([
      [0, 23, "updated", "copy of 0-23"],
      [24, 39, "inserted", "copy of 8-23"],
      [40, 47, "updated", "copy of 24-31"],
    ]);
  });

  test("slayer on Mistral-7B", () => {
    const { parameters, blocks } = describePlan(planSlayer(mistral), mistral);
    expect(blocks).toBe(38);
    expect(parameters.perBlock).toBe(218_112_000);
    expect(parameters.total).toBe(8_550_404_096);
  });
});

describe("FLOPs per token of one training step", () => {
  test("slayer on Llama-2-7B at 4096: 37.8 G, against 50.8 G for everything", () => {
    const { planned, everything } = describePlan(planSlayer(llama2), llama2).flops;
    const linear = 2 * (4 * 4096 * 4096 + 3 * 4096 * 11008);
    const attention = 2 * 4096 * 4096;
    const head = 2 * 32000 * 4096;
    expect(planned).toEqual({
      sequenceLength: 4096,
      forward: 38 * (linear + attention) + head,
      backwardActivations: 36 * (linear + 2 * attention) + head,
      weightGradients: 9 * linear,
      total: 37_809_553_408,
    });
    expect(everything.total).toBe(50_753_175_552);
    expect(
      [planned.forward, planned.backwardActivations, planned.weightGradients].map((x) => (x / 1e9).toFixed(1)),
    ).toEqual(["16.9", "17.2", "3.6"]);
  });

  test("without a trainable block only the forward pass is left", () => {
    const plan = planSlayer(llama2, { prune: 0 });
    const frozen = { ...plan, trainable: { blocks: [] } };
    const { planned } = describePlan(frozen, llama2).flops;
    expect(planned).toMatchObject({ backwardActivations: 0, weightGradients: 0, total: planned.forward });
  });

  test("a sliding window: the pairs counted one query at a time", () => {
    const T = 64;
    for (const window of [1, 5, 33, 63, 64, 100]) {
      const config: ModelConfig = { ...mistral, slidingWindow: window };
      let keys = 0;
      for (let query = 0; query < T; query += 1) keys += Math.min(query + 0.5, window - (query < window ? 0.5 : 0));
      const plan = planLlamaPro(config);
      const forward = describePlan(plan, config, { sequenceLength: T }).flops.planned.forward;
      const linear = 2 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336);
      expect(forward).toBe(40 * (linear + (4 * 4096 * keys) / T) + 2 * 32000 * 4096);
    }
  });

  test("the default sequence length is no longer than the model's", () => {
    expect(describePlan(planSlayer(tinyConfig()), tinyConfig()).flops.planned.sequenceLength).toBe(64);
  });
});

describe("memory and disk in bytes", () => {
  test("slayer on Llama-2-7B", () => {
    const { memory, disk } = describePlan(planSlayer(llama2), llama2);
    expect(memory).toEqual([
      {
        precision: "f32",
        frozenWeights: 24_525_062_144,
        trainableWeights: 7_285_800_960,
        masterWeights: 0,
        adamMoments: 14_571_601_920,
        gradients: 7_285_800_960,
        total: 53_668_265_984,
      },
      {
        precision: "bf16",
        frozenWeights: 12_262_531_072,
        trainableWeights: 3_642_900_480,
        masterWeights: 7_285_800_960,
        adamMoments: 14_571_601_920,
        gradients: 7_285_800_960,
        total: 45_048_635_392,
      },
    ]);
    expect(disk).toEqual({ dtype: "float16", bytes: 15_905_431_552, deltaBytes: 2 * 1_821_450_240 });
  });
});

test("any geometry: total = base + change in depth, trainable = blocks trained, all integers", () => {
  const geometry = fc.record({
    num_hidden_layers: fc.integer({ min: 6, max: 40 }),
    vocab_size: fc.integer({ min: 1, max: 300_000 }),
    headDim: fc.integer({ min: 1, max: 64 }).map((half) => 2 * half),
    kvHeads: fc.integer({ min: 1, max: 16 }),
    share: fc.integer({ min: 1, max: 8 }),
    hidden_size: fc.integer({ min: 1, max: 20_000 }),
    intermediate_size: fc.integer({ min: 1, max: 60_000 }),
    tie_word_embeddings: fc.boolean(),
    attention_bias: fc.boolean(),
    mlp_bias: fc.boolean(),
  });
  fc.assert(
    fc.property(geometry, ({ headDim, kvHeads, share, ...rest }) => {
      const heads = { num_attention_heads: kvHeads * share, num_key_value_heads: kvHeads, head_dim: headDim };
      const config = tinyConfig({ ...rest, ...heads });
      const { hiddenSize: D, intermediateSize: F } = config;
      const q = kvHeads * share * headDim;
      const kv = kvHeads * headDim;
      const block =
        2 * q * D +
        2 * kv * D +
        3 * D * F +
        2 * D +
        (config.attentionBias ? q + 2 * kv + D : 0) +
        (config.mlpBias ? 2 * F + D : 0);
      const summary = describePlan(planSlayer(config), config);
      const added = summary.blocks - config.blocks;
      expect(summary.parameters.total).toBe(parameterCount(config).total + added * block);
      expect(summary.trainable.parameters).toBe(summary.trainable.blocks.length * block);
      expect(summary.flops.planned.total).toBeLessThan(summary.flops.everything.total);
      const numbers = [...Object.values(summary.flops.planned), ...summary.memory.map((memory) => memory.total)];
      expect(numbers.every(Number.isSafeInteger)).toBe(true);
    }),
  );
});

test("sizes whose costs are beyond 2^53 are an error for the user", () => {
  const huge = { ...tinyConfig(), vocabSize: 2 ** 50 };
  expect(() => describePlan(planSlayer(huge), huge)).toThrow(/beyond 2\^53; are they right/);
});

test("formatPlan prints the block table, both trainable counts and every cost", () => {
  const config = tinyConfig();
  expect(formatPlan(describePlan(planSlayer(config), config)))
    .toBe(`slayer  groups=2  groupSize=2  prune=2  init=average  final=deleted-mean  zero=true  position=after-last  region=half  start=0  pruneStart=6
8 blocks -> 8; the function changes

block  kind      from base     zeroed
0-1    original  0-1
2      inserted  mean of 1, 2  o_proj, down_proj
3-4    original  2-3
5      inserted  mean of 3, 4  o_proj, down_proj
6      original  4
7      updated   mean of 6, 7

parameters
base                                  4,296
total                                 4,296
per block                             496
trainable, 3 blocks                   1,488
trainable, and one vocabulary matrix  1,648

FLOPs per token, sequence 64  this plan  training everything
forward                       16.2 K     16.2 K
backward to activations       18.4 K     24.4 K
weight gradients              2.9 K      8.0 K
total                         37.4 K     48.6 K
this plan takes 77.1 % of training everything

training memory, without activations  f32       bf16
frozen weights                        11.0 KiB  5.5 KiB
trainable weights                     5.8 KiB   2.9 KiB
f32 masters                           0 B       5.8 KiB
Adam moments                          11.6 KiB  11.6 KiB
gradients                             5.8 KiB   5.8 KiB
total                                 34.2 KiB  31.6 KiB

disk: 16.8 KiB in float32; trained, as a delta, 5.8 KiB
note: groups: the first half of 8 blocks, in whole groups of 2 rounded down, gives 2: blocks 0 to 3
note: pruned: blocks 6 to 7 of the base
`);
});
