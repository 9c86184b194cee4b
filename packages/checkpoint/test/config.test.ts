import { readFileSync } from "node:fs";
import { join } from "node:path";

import { beforeAll, describe, expect, it } from "vitest";

import { blockTensors, Checkpoint, editConfig, expectedTensors, parameterCount, parseConfig } from "@slayer/checkpoint";
import type { ModelConfig } from "@slayer/checkpoint";

import { failure, put, scratch, TINY } from "./files.js";

interface Golden {
  config: Record<string, unknown>;
  expected: ModelConfig;
  parameters?: number;
  shapes?: Record<string, number[]>;
}

/** Made by golden/make_configs.py. */
function golden(version: string): [string, Golden][] {
  const text = readFileSync(new URL(`./golden/configs-${version}.json`, import.meta.url), "utf8");
  return Object.entries(JSON.parse(text) as Record<string, Golden>);
}

describe.each(["4.57.6", "5.18.0"])("parseConfig reads what Transformers %s reads:", (version) => {
  it.each(golden(version))("%s", (_title, { config, expected }) => {
    expect(parseConfig(config, "config.json")).toEqual(expected);
  });

  const withModel = golden(version).filter(([, { shapes }]) => shapes !== undefined);
  it.each(withModel)(
    "%s: names, shapes and number of parameters of the model",
    (_title, { config, shapes, parameters }) => {
      const parsed = parseConfig(config, "config.json");
      expect(Object.fromEntries(expectedTensors(parsed))).toEqual(shapes);
      expect(parameterCount(parsed).total).toBe(parameters);
    },
  );
});

describe("parseConfig", () => {
  it("takes -1 for no padding token, as early Llama conversions write it", () => {
    expect(parseConfig({ ...TINY, pad_token_id: -1 }, "f").padTokenId).toBe(null);
  });

  it("prefers rope_scaling to rope_parameters and theta inside to theta outside (Transformers 5 reads so)", () => {
    const linear = { rope_type: "linear", factor: 2 };
    const both = {
      ...TINY,
      rope_theta: 7,
      rope_scaling: linear,
      rope_parameters: { rope_type: "default", rope_theta: 5 },
    };
    expect(parseConfig(both, "f").rope).toEqual({ type: "linear", theta: 7, factor: 2 });
    expect(parseConfig({ ...both, rope_scaling: null }, "f").rope).toEqual({ type: "default", theta: 5 });
    expect(parseConfig({ ...both, rope_scaling: {} }, "f").rope).toEqual({ type: "default", theta: 5 });
  });

  const llama3 = { rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 };
  it.each<[string, string, Record<string, unknown>]>([
    ["bad-config", "hidden_size", { hidden_size: -4 }],
    ["bad-config", "hidden_size", { hidden_size: 0 }],
    ["bad-config", "hidden_size", { hidden_size: 4.5 }],
    ["bad-config", "hidden_size", { hidden_size: "4" }],
    ["bad-config", "hidden_size", { hidden_size: null }],
    ["bad-config", "hidden_size", { hidden_size: NaN }],
    ["bad-config", "hidden_size", { hidden_size: Infinity }],
    ["bad-config", "num_hidden_layers", { num_hidden_layers: 1e6 }],
    ["bad-config", "rms_norm_eps", { rms_norm_eps: NaN }],
    ["bad-config", "rms_norm_eps", { rms_norm_eps: -1e-6 }],
    ["bad-config", "rope_theta", { rope_theta: 0 }],
    ["bad-config", "rope_theta", { rope_theta: -Infinity }],
    ["bad-config", "rope_scaling.factor", { rope_scaling: { type: "linear" } }],
    ["bad-config", "rope_scaling.factor", { rope_scaling: { type: "linear", factor: -2 } }],
    ["bad-config", "rope_parameters.low_freq_factor", { rope_parameters: { rope_type: "llama3", factor: 8 } }],
    ["bad-config", "high_freq_factor", { rope_parameters: { ...llama3, high_freq_factor: 1 } }],
    ["bad-config", "rope_type", { rope_scaling: { type: "linear", rope_type: "dynamic", factor: 2 } }],
    [
      "bad-config",
      "original_max_position_embeddings",
      { original_max_position_embeddings: 5, rope_scaling: { ...llama3, original_max_position_embeddings: 6 } },
    ],
    ["bad-config", "num_attention_heads", { num_attention_heads: 3 }],
    ["bad-config", "num_key_value_heads", { num_attention_heads: 2, num_key_value_heads: 4 }],
    ["bad-config", "head_dim", { head_dim: 3 }],
    ["bad-config", "tie_word_embeddings", { tie_word_embeddings: "false" }],
    ["bad-config", "eos_token_id", { eos_token_id: [2, -1] }],
    ["bad-config", "sliding_window", { model_type: "mistral", sliding_window: -1 }],
    ["bad-config", "model_type", { model_type: undefined }],
    ["size-overflow", "vocab_size", { vocab_size: 2 ** 53 }],
    ["size-overflow", "2^53", { vocab_size: 2 ** 30, hidden_size: 2 ** 30 }],
    ["size-overflow", "2^53", { intermediate_size: 2 ** 52, hidden_size: 2 ** 52 }],
    ["unsupported", "model_type", { model_type: "qwen2" }],
    ["unsupported", "rope_scaling.rope_type", { rope_scaling: { type: "yarn", factor: 2 } }],
    ["unsupported", "rope_parameters.rope_type", { rope_parameters: { rope_type: "longrope" } }],
    ["unsupported", "rope_parameters", { rope_parameters: { full_attention: { rope_type: "linear", factor: 2 } } }],
    ["unsupported", "partial_rotary_factor", { partial_rotary_factor: 0.5 }],
    ["unsupported", "rope_parameters.partial_rotary_factor", { rope_parameters: { partial_rotary_factor: 0.5 } }],
    ["unsupported", "hidden_act", { hidden_act: "gelu" }],
    ["unsupported", "pretraining_tp", { pretraining_tp: 2 }],
    ["unsupported", "quantization_config", { quantization_config: { bits: 4 } }],
    ["unsupported", "architectures", { architectures: ["LlamaForSequenceClassification"] }],
    ["unsupported", "attention_bias", { model_type: "mistral", num_key_value_heads: 1, attention_bias: true }],
  ])("refuses with %s naming %s: %j", async (code, key, change) => {
    const error = await failure(() => parseConfig({ ...TINY, ...change }, "some/config.json"));
    expect({ code: error.code, file: error.file }).toEqual({ code, file: "some/config.json" });
    expect(error.message).toContain(key);
  });

  it.each([null, [], "x", 3])("refuses %j", async (json) => {
    expect((await failure(() => parseConfig(json, "f"))).code).toBe("bad-config");
  });
});

describe("config.json on disk", () => {
  let dir: string;
  beforeAll(async () => {
    dir = await scratch();
  });

  it.each([
    ["bad-config", "rms_norm_eps", '{"model_type":"llama","rms_norm_eps": NaN}'],
    ["bad-config", "rope_theta", '{"model_type":"llama","rope_theta": -Infinity}'],
    ["bad-config", "rms_norm_eps", '{"model_type":"llama","rms_norm_eps": 1e999}'],
    ["bad-config", "JSON", '{"model_type":"llama",}'],
    ["duplicate-key", "vocab_size", '{"model_type":"llama","vocab_size":5,"vocab_size":6}'],
    ["size-overflow", "vocab_size", '{"model_type":"llama","vocab_size":9007199254740993}'],
  ])("%s naming %s: %s", async (code, key, text) => {
    const file = await put(dir, "config.json", text);
    const error = await failure(() => Checkpoint.open(dir));
    expect({ code: error.code, file: error.file }).toEqual({ code, file });
    expect(error.message).toContain(key);
  });

  it("missing", async () => {
    const error = await failure(() => Checkpoint.open(join(dir, "none")));
    expect(error.code).toBe("missing-file");
  });
});

describe("parameterCount, exactly", () => {
  const llama = parseConfig({ model_type: "llama" }, "f"); // Llama-2-7B's geometry is LlamaConfig's default
  const mistral = parseConfig({ model_type: "mistral" }, "f"); // and Mistral-7B's that of MistralConfig

  it("Llama-2-7B: block 202,383,360, vocabulary matrix 131,072,000, total 6,738,415,616", () => {
    const { total, block, vocabularyMatrix } = parameterCount(llama);
    expect({ total, block, vocabularyMatrix }).toEqual({
      total: 6_738_415_616,
      block: 202_383_360,
      vocabularyMatrix: 131_072_000,
    });
  });

  it("expanded to 40 blocks 8,357,482,496 and to 38 blocks 7,952,715,776", () => {
    expect(parameterCount({ ...llama, blocks: 40 }).total).toBe(8_357_482_496);
    expect(parameterCount({ ...llama, blocks: 38 }).total).toBe(7_952_715_776);
  });

  it("Mistral-7B: block 218,112,000, 38 blocks 8,550,404,096", () => {
    expect(parameterCount(mistral).block).toBe(218_112_000);
    expect(parameterCount({ ...mistral, blocks: 38 }).total).toBe(8_550_404_096);
  });

  it("a tied matrix counts once", () => {
    const tied = parameterCount({ ...llama, tieWordEmbeddings: true });
    expect(tied.total).toBe(6_738_415_616 - 131_072_000);
    expect(tied.vocabularyMatrices).toBe(1);
  });
});

it("editConfig changes num_hidden_layers and neither other keys nor their order", () => {
  const raw = { b: 1.5, num_hidden_layers: 32, a: { nested: [1, null] }, "": "x" };
  const edited = editConfig(raw, { num_hidden_layers: 38 });
  expect(JSON.stringify(edited)).toBe('{"b":1.5,"num_hidden_layers":38,"a":{"nested":[1,null]},"":"x"}');
  expect(raw.num_hidden_layers).toBe(32);
});

it("blockTensors are the nine weights of a block, and biases where the config has them", () => {
  const config = parseConfig(TINY, "f");
  expect(blockTensors(config).size).toBe(9);
  expect(blockTensors({ ...config, attentionBias: true, mlpBias: true }).size).toBe(9 + 7);
});
