import type { ModelConfig } from "@slayer/checkpoint";
import {
  accumulatorOf,
  dequantize,
  type DType,
  embedding,
  type FloatDType,
  type Graph,
  quantizedTypes,
  rmsnorm,
  type Tensor,
  type TensorType,
  type TypedArray,
} from "@slayer/tensor";
import { llamaBlock } from "./llama.js";
import { mistralBlock } from "./mistral.js";
import { ropeFrequencies } from "./rope-frequencies.js";
import { quantizedNames, type WeightForm } from "./weights.js";

export interface ForwardOptions {
  /** B */
  batch: number;
  /** T, tokens per sequence (new tokens, where there is a cache) */
  length: number;
  /** Type of the activations; f64 only on the reference backend, for gradient checks. Default f32. */
  dtype?: FloatDType;
  /**
   * Form of each weight by name; default: the type of the activations. Where those are bf16, the embedding must be too. int8 and
   * nf4 are for the matrices of linear layers; they are never trained.
   */
  weights?: (name: string) => WeightForm;
  /** Tokens attend only within their own document; adds the input `segments` i32 [B, T]. */
  segments?: boolean;
  /** Adds to what a linear layer yields: an adapter. */
  adapt?: Adapt;
  /** Keys and values are kept in state tensors for this many tokens; adds the input `cache_offset` i32 [1]. */
  cacheLength?: number;
}

/**
 * What the linear layer `module` yields with its adapter, from x [..., in] and y = x·Wᵀ [..., out]. `weight` names the adapter's
 * own weights.
 */
export type Adapt = (module: string, x: Tensor, y: Tensor, weight: BlockContext["weight"]) => Tensor;

/** What a block's function gets: what all blocks share, and a way to name its weights as the checkpoint does. */
export interface BlockContext {
  readonly graph: Graph;
  readonly config: ModelConfig;
  /** i32 [B, T] */
  readonly positions: Tensor;
  /** [E/2] */
  readonly frequencies: Tensor;
  readonly segments: Tensor | undefined;
  readonly cache: { length: number; offset: Tensor } | undefined;
  readonly adapt: Adapt | undefined;
  /** The weight of this name, declared on first use. */
  weight: (name: string, shape: number[]) => Tensor;
}

export interface Forward {
  /** The residual stream [B, T, D] entering block l, l = 0 … L−1, and after the last block at L (not normed). */
  readonly residual: readonly Tensor[];
  /** After the final norm [B, T, D]. */
  readonly final: Tensor;
  /** The LM head's weight [V, D]; the embedding where they are tied. Logits are final·headᵀ. */
  readonly head: Tensor;
}

/** Scope of block l in the graph; recomputation and FLOPs per block go by it. */
export function blockScope(l: number): string {
  return `block.${l}`;
}

/** Records the model's forward pass. Parameters carry the checkpoint's names; inputs are those of `forwardInputs`. */
export function forward(graph: Graph, config: ModelConfig, options: ForwardOptions): Forward {
  const residual = [forwardEmbedding(graph, config, options)]; // [B, T, D]
  for (let l = 0; l < config.blocks; l++) residual.push(forwardBlock(graph, config, l, residual[l]!, options));
  return { residual, ...forwardHead(graph, config, residual.at(-1)!, options) };
}

/** The first stage alone: `input_ids` i32 [B, T] to the residual stream entering block 0, [B, T, D]. */
export function forwardEmbedding(graph: Graph, config: ModelConfig, options: ForwardOptions): Tensor {
  const { batch, length, dtype = "f32" } = options;
  const { vocabSize: V, hiddenSize: D } = config;
  const ids = graph.input("input_ids", [batch, length], "i32");
  const x = embedding(weightOf(graph, "model.embed_tokens.weight", [V, D], options), ids, dtype === "f32");
  if (x.dtype !== dtype) throw new Error(`activations in ${dtype} need the embedding in ${dtype}, it is ${x.dtype}`);
  return x;
}

/**
 * Block l alone: the residual stream x [B, T, D] entering it to that leaving it. Its inputs are those of `forwardInputs`
 * but for `input_ids`; they are shared with whatever else of the model the graph holds.
 */
export function forwardBlock(graph: Graph, config: ModelConfig, l: number, x: Tensor, options: ForwardOptions): Tensor {
  const { batch, length, dtype = "f32", segments, cacheLength } = options;
  const tokens = [batch, length];
  const input = (name: string, shape: number[], type: DType) =>
    graph.persistent.get(name) ?? graph.input(name, shape, type);
  const context: BlockContext = {
    graph,
    config,
    positions: input("positions", tokens, "i32"),
    frequencies: input("rope_frequencies", [config.headDim / 2], accumulatorOf(dtype)),
    segments: segments ? input("segments", tokens, "i32") : undefined,
    cache: cacheLength ? { length: cacheLength, offset: input("cache_offset", [1], "i32") } : undefined,
    adapt: options.adapt,
    weight: (name, shape) => weightOf(graph, name, shape, options),
  };
  const block = config.family === "llama" ? llamaBlock : mistralBlock;
  return graph.inScope(blockScope(l), () => block(context, l, x));
}

/** The last stage alone: the residual stream x [B, T, D] after the last block to what the loss or the logits need. */
export function forwardHead(
  graph: Graph,
  config: ModelConfig,
  x: Tensor,
  { weights }: Pick<ForwardOptions, "weights"> = {},
): Omit<Forward, "residual"> {
  const { vocabSize: V, hiddenSize: D, rmsNormEps, tieWordEmbeddings } = config;
  const options = { dtype: x.dtype as FloatDType, ...(weights && { weights }) };
  const final = rmsnorm(x, weightOf(graph, "model.norm.weight", [D], options), rmsNormEps);
  const head = tieWordEmbeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return { final, head: weightOf(graph, head, [V, D], options) };
}

function weightOf(
  graph: Graph,
  name: string,
  shape: number[],
  { dtype = "f32", weights = () => dtype }: Pick<ForwardOptions, "dtype" | "weights">,
): Tensor {
  const form = weights(name);
  const declared = (n: string, { shape: extents, dtype: type }: TensorType) =>
    graph.persistent.get(n) ?? graph.parameter(n, extents, type);
  if (form !== "int8" && form !== "nf4") return declared(name, { shape, dtype: form });
  const [names, types] = [quantizedNames(name, form), quantizedTypes(form, shape)];
  const [codes, scales] = [declared(names.codes, types.codes), declared(names.scales, types.scales)];
  return dequantize(codes, scales, form, shape[1]!, dtype);
}

/**
 * Values for the inputs of `forward`. ids i32 [B·T]. Positions count from `offset` (tokens already in the cache) unless
 * given, as they are where documents are packed with positions that restart.
 */
export function forwardInputs(
  config: ModelConfig,
  ids: Int32Array,
  options: ForwardOptions & { offset?: number; positions?: Int32Array; segmentIds?: Int32Array },
): Record<string, TypedArray> {
  const { length, dtype = "f32", offset = 0, cacheLength, segmentIds } = options;
  const positions = options.positions ?? ids.map((_, i) => offset + (i % length));
  const reach = positions.reduce((max, p) => Math.max(max, p), 0) + 1;
  const frequencies = ropeFrequencies(config, reach);
  return {
    input_ids: ids,
    positions,
    rope_frequencies: dtype === "f64" ? frequencies : new Float32Array(frequencies),
    ...(options.segments && segmentIds ? { segments: segmentIds } : {}),
    ...(cacheLength ? { cache_offset: Int32Array.of(offset) } : {}),
  };
}
