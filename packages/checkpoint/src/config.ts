import { z } from "zod";

import { CheckpointError } from "./errors.js";
import { parameterCount } from "./geometry.js";
import { isObject } from "./json.js";

/**
 * Rotary position embedding: frequencies theta^(-2i/headDim), then scaled by `type`.
 * - linear: all divided by `factor`
 * - dynamic (NTK): theta grows with the sequence once it is longer than `maxPositionEmbeddings`; uses `factor`
 * - llama3: long wavelengths divided by `factor`, short ones kept, smooth between; uses all optional fields
 */
export interface RopeConfig {
  readonly type: "default" | "linear" | "dynamic" | "llama3";
  readonly theta: number;
  readonly factor?: number;
  readonly lowFreqFactor?: number;
  readonly highFreqFactor?: number;
  readonly originalMaxPositionEmbeddings?: number;
}

/** What a Llama or Mistral `config.json` says, absent keys filled in as Transformers fills them. */
export interface ModelConfig {
  readonly family: "llama" | "mistral";
  /** V */
  readonly vocabSize: number;
  /** D */
  readonly hiddenSize: number;
  /** F */
  readonly intermediateSize: number;
  /** L, `num_hidden_layers` */
  readonly blocks: number;
  /** H */
  readonly heads: number;
  /** K; divides `heads` */
  readonly kvHeads: number;
  /** E; even. `heads` · `headDim` need not equal `hiddenSize`. */
  readonly headDim: number;
  readonly maxPositionEmbeddings: number;
  readonly rmsNormEps: number;
  readonly tieWordEmbeddings: boolean;
  readonly rope: RopeConfig;
  /** A token sees itself and the `slidingWindow - 1` tokens before it; null: all before it. Always null for Llama. */
  readonly slidingWindow: number | null;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  readonly hiddenAct: "silu";
  readonly bosTokenId: number | null;
  readonly eosTokenIds: readonly number[];
  readonly padTokenId: number | null;
  readonly initializerRange: number;
  /** As the file names it (`bfloat16`, …); "float32" when it does not. */
  readonly dtype: string;
}

/** No model has nearly as many; a bound keeps a hostile config from making anyone enumerate 2^53 blocks. */
const MAX_BLOCKS = 65_536;

const size = z.int().positive();
const positive = z.number().positive();
const tokenId = z.int().nonnegative().nullable();

const ropeSchema = z.object({
  rope_type: z.string().optional(),
  type: z.string().optional(),
  rope_theta: positive.optional(),
  factor: positive.optional(),
  low_freq_factor: positive.optional(),
  high_freq_factor: positive.optional(),
  original_max_position_embeddings: size.optional(),
  partial_rotary_factor: z.number().optional(),
});

const configSchema = z.object({
  vocab_size: size.default(32_000),
  hidden_size: size.default(4096),
  intermediate_size: size.optional(),
  num_hidden_layers: size.max(MAX_BLOCKS).default(32),
  num_attention_heads: size.default(32),
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  max_position_embeddings: size.optional(),
  rms_norm_eps: positive.default(1e-6),
  tie_word_embeddings: z.boolean().default(false),
  rope_theta: positive.default(10_000),
  rope_scaling: ropeSchema.nullish(),
  rope_parameters: ropeSchema.nullish(),
  original_max_position_embeddings: size.optional(),
  partial_rotary_factor: z.number().nullish(),
  sliding_window: size.nullish(),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  hidden_act: z.string().default("silu"),
  bos_token_id: tokenId.default(1),
  eos_token_id: z.union([tokenId, z.array(z.int().nonnegative())]).default(2),
  // Early Llama conversions write -1 where later ones write null.
  pad_token_id: z.union([tokenId, z.literal(-1).transform(() => null)]).default(null),
  initializer_range: z.number().nonnegative().default(0.02),
  dtype: z.string().nullish(),
  torch_dtype: z.string().nullish(),
  pretraining_tp: z.number().nullish(),
  architectures: z.array(z.string()).nullish(),
});

type RawConfig = z.infer<typeof configSchema>;

/** The value at a path of keys, for an error message. */
function valueAt(json: unknown, path: readonly PropertyKey[]): unknown {
  let value: unknown = json;
  for (const key of path) value = Object(value)[key];
  return value;
}

/** Numbers as JavaScript shows them (JSON would turn NaN into null), the rest as JSON. */
function show(value: unknown): string {
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? "missing");
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

function parseRaw(json: Record<string, unknown>, file: string): RawConfig {
  const parsed = configSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const path = issue?.path ?? [];
  const value = valueAt(json, path);
  const overflow = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
  const problem = `key ${JSON.stringify(path.join("."))} is ${show(value)}`;
  if (overflow) throw new CheckpointError("size-overflow", file, `${problem}, beyond the exact integers (2^53)`);
  throw new CheckpointError("bad-config", file, `${problem}; ${issue?.message ?? "it does not fit"}`);
}

function unsupported(file: string, key: string, value: unknown, wanted: string): never {
  throw new CheckpointError("unsupported", file, `key ${JSON.stringify(key)} is ${show(value)}; ${wanted}`);
}

function parseFamily(json: Record<string, unknown>, file: string): "llama" | "mistral" {
  const family = json.model_type;
  if (family === "llama" || family === "mistral") return family;
  if (family === undefined) throw new CheckpointError("bad-config", file, 'key "model_type" is missing');
  return unsupported(file, "model_type", family, 'supported are "llama" and "mistral"');
}

/** Features that would change the numbers or the tensors and that this project does not have. */
function refuseUnsupported(json: Record<string, unknown>, raw: RawConfig, file: string): void {
  const className = json.model_type === "llama" ? "LlamaForCausalLM" : "MistralForCausalLM";
  if (raw.hidden_act !== "silu") unsupported(file, "hidden_act", raw.hidden_act, 'supported is "silu"');
  if ((raw.pretraining_tp ?? 1) !== 1) unsupported(file, "pretraining_tp", raw.pretraining_tp, "supported is 1");
  if ((raw.partial_rotary_factor ?? 1) !== 1) {
    unsupported(file, "partial_rotary_factor", raw.partial_rotary_factor, "supported is 1");
  }
  if (raw.architectures != null && !raw.architectures.includes(className)) {
    unsupported(file, "architectures", raw.architectures, `supported is ["${className}"]`);
  }
  for (const key of ["quantization_config", "layer_types"]) {
    if (json[key] != null) unsupported(file, key, json[key], "supported are models without it");
  }
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const nested = isObject(json[key]) && Object.values(json[key]).some(isObject);
    if (nested) unsupported(file, key, json[key], "supported is one rope for all blocks");
  }
  for (const key of ["attention_bias", "mlp_bias"] as const) {
    if (raw[key] && json.model_type === "mistral") unsupported(file, key, true, "Mistral models have no biases");
  }
}

/**
 * Transformers 4 writes `rope_theta` and `rope_scaling` (its kind under `type` or `rope_type`), 5 one `rope_parameters`.
 * Where several stand there, the order is that of Transformers 5 (modeling_rope_utils.py): a non-empty `rope_scaling`
 * first, theta inside before theta outside. A contradiction that versions 4 and 5 resolve differently is an error.
 */
function parseRope(raw: RawConfig, maxPositionEmbeddings: number, file: string): RopeConfig {
  const scaling = raw.rope_scaling != null && Object.keys(raw.rope_scaling).length > 0 ? raw.rope_scaling : null;
  const key = scaling === null ? "rope_parameters" : "rope_scaling";
  const given = scaling ?? raw.rope_parameters ?? {};
  if (given.type !== undefined && given.rope_type !== undefined && given.type !== given.rope_type) {
    const problem = `"${key}" says type "${given.type}" and rope_type "${given.rope_type}"; keep the one that is meant`;
    throw new CheckpointError("bad-config", file, problem);
  }
  const type = given.rope_type ?? given.type ?? "default";
  const theta = given.rope_theta ?? raw.rope_theta;
  if ((given.partial_rotary_factor ?? 1) !== 1) {
    unsupported(file, `${key}.partial_rotary_factor`, given.partial_rotary_factor, "supported is 1");
  }
  const need = (name: "factor" | "low_freq_factor" | "high_freq_factor"): number => {
    const value = given[name];
    if (value !== undefined) return value;
    throw new CheckpointError("bad-config", file, `key "${key}.${name}" is missing; rope type "${type}" needs it`);
  };
  switch (type) {
    case "default":
      return { type, theta };
    case "linear":
    case "dynamic":
      return { type, theta, factor: need("factor") };
    case "llama3": {
      const lowFreqFactor = need("low_freq_factor");
      const highFreqFactor = need("high_freq_factor");
      if (highFreqFactor <= lowFreqFactor) {
        const problem = `"${key}.high_freq_factor" (${highFreqFactor}) must exceed low_freq_factor (${lowFreqFactor})`;
        throw new CheckpointError("bad-config", file, problem);
      }
      const outside = raw.original_max_position_embeddings;
      const inside = given.original_max_position_embeddings;
      if (outside !== undefined && inside !== undefined && outside !== inside) {
        const problem = `"original_max_position_embeddings" is ${outside} and, in "${key}", ${inside}; keep one`;
        throw new CheckpointError("bad-config", file, problem);
      }
      const originalMaxPositionEmbeddings = outside ?? inside ?? maxPositionEmbeddings;
      const factor = need("factor");
      return { type, theta, factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings };
    }
    default:
      return unsupported(file, `${key}.rope_type`, type, 'supported are "default", "linear", "dynamic" and "llama3"');
  }
}

/**
 * Read a Hugging Face `config.json` of a Llama or Mistral model, as Transformers 4 or 5 writes it. Absent keys get the
 * defaults of LlamaConfig and MistralConfig (among them: kv heads = heads, Mistral 8; head_dim = hidden / heads;
 * Mistral's sliding window 4096, while an explicit null stays null).
 *
 * @param file only for messages
 * @throws CheckpointError "bad-config", "size-overflow" or "unsupported", naming the key
 */
export function parseConfig(json: unknown, file: string): ModelConfig {
  if (!isObject(json)) throw new CheckpointError("bad-config", file, "expected a JSON object");
  const family = parseFamily(json, file);
  const raw = parseRaw(json, file);
  refuseUnsupported(json, raw, file);
  const bad = (problem: string) => new CheckpointError("bad-config", file, problem);

  const { hidden_size: hiddenSize, num_attention_heads: heads } = raw;
  if (raw.head_dim == null && hiddenSize % heads !== 0) {
    throw bad(
      `hidden_size (${hiddenSize}) must be a multiple of num_attention_heads (${heads}) unless head_dim is given`,
    );
  }
  const headDim = raw.head_dim ?? hiddenSize / heads;
  if (headDim % 2 !== 0) throw bad(`head_dim is ${headDim}; rotary embedding needs an even number`);
  const absentKvHeads = family === "mistral" ? 8 : heads;
  const kvHeads = raw.num_key_value_heads ?? (raw.num_key_value_heads === null ? heads : absentKvHeads);
  if (heads % kvHeads !== 0) {
    throw bad(`num_attention_heads (${heads}) must be a multiple of num_key_value_heads (${kvHeads})`);
  }
  const maxPositionEmbeddings = raw.max_position_embeddings ?? (family === "mistral" ? 131_072 : 2048);
  const eos = raw.eos_token_id;
  const config: ModelConfig = {
    family,
    vocabSize: raw.vocab_size,
    hiddenSize,
    intermediateSize: raw.intermediate_size ?? (family === "mistral" ? 14_336 : 11_008),
    blocks: raw.num_hidden_layers,
    heads,
    kvHeads,
    headDim,
    maxPositionEmbeddings,
    rmsNormEps: raw.rms_norm_eps,
    tieWordEmbeddings: raw.tie_word_embeddings,
    rope: parseRope(raw, maxPositionEmbeddings, file),
    slidingWindow: family === "llama" ? null : raw.sliding_window === undefined ? 4096 : raw.sliding_window,
    attentionBias: raw.attention_bias,
    mlpBias: raw.mlp_bias,
    hiddenAct: "silu",
    bosTokenId: raw.bos_token_id,
    eosTokenIds: eos === null ? [] : typeof eos === "number" ? [eos] : eos,
    padTokenId: raw.pad_token_id,
    initializerRange: raw.initializer_range,
    dtype: raw.dtype ?? raw.torch_dtype ?? "float32",
  };
  parameterCount(config, file); // throws where the sizes leave the exact integers
  return config;
}

/** A config.json with another number of blocks; every other key and the order of keys stay as they are. */
export function editConfig(
  raw: Readonly<Record<string, unknown>>,
  changes: { readonly num_hidden_layers: number },
): Record<string, unknown> {
  return { ...raw, ...changes };
}
