import type { ModelConfig } from "@slayer/checkpoint";
import type { FloatDType, Graph, Tensor, TypedArray } from "@slayer/tensor";
import { llama } from "./llama.js";
import { mistral } from "./mistral.js";
import { ropeFrequencies } from "./rope-frequencies.js";

export interface ForwardOptions {
  /** B */
  batch: number;
  /** T, tokens per sequence (new tokens, where there is a cache) */
  length: number;
  /** f64 only on the reference backend, for gradient checks. Default f32. */
  dtype?: FloatDType;
  /** Tokens attend only within their own document; adds the input `segments` i32 [B, T]. */
  segments?: boolean;
  /** Keys and values are kept in state tensors for this many tokens; adds the input `cache_offset` i32 [1]. */
  cacheLength?: number;
}

/** What a model's function gets: its inputs, and a way to name its weights as the checkpoint does. */
export interface ForwardContext {
  readonly graph: Graph;
  readonly config: ModelConfig;
  /** i32 [B, T] */
  readonly ids: Tensor;
  /** i32 [B, T] */
  readonly positions: Tensor;
  /** [E/2] */
  readonly frequencies: Tensor;
  readonly segments: Tensor | undefined;
  readonly cache: { length: number; offset: Tensor } | undefined;
  /** The weight of this name, declared on first use. */
  weight(name: string, shape: number[]): Tensor;
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
  const { batch, length, dtype = "f32", segments, cacheLength } = options;
  const tokens = [batch, length];
  const weights = new Map<string, Tensor>();
  const context: ForwardContext = {
    graph,
    config,
    ids: graph.input("input_ids", tokens, "i32"),
    positions: graph.input("positions", tokens, "i32"),
    frequencies: graph.input("rope_frequencies", [config.headDim / 2], dtype),
    segments: segments ? graph.input("segments", tokens, "i32") : undefined,
    cache: cacheLength ? { length: cacheLength, offset: graph.input("cache_offset", [1], "i32") } : undefined,
    weight(name, shape) {
      const known = weights.get(name) ?? graph.parameter(name, shape, dtype);
      weights.set(name, known);
      return known;
    },
  };
  return config.family === "llama" ? llama(context) : mistral(context);
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
