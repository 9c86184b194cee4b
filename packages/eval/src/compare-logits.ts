import type { ModelConfig } from "@slayer/checkpoint";
import { matmul, type Store } from "@slayer/tensor";
import { EvalError } from "./errors.js";
import { ForwardRunner } from "./forward-runner.js";
import { checkIds, type WindowBatch, windows } from "./windows.js";

export interface CompareLogitsOptions {
  /** Tokens per window. Default 128. */
  readonly sequenceLength?: number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (windowsDone: number, windowsTotal: number) => void;
}

/** Plain JSON data. */
export interface LogitsComparison {
  /** All logits have the same bits. */
  readonly identical: boolean;
  /** max |a − b| */
  readonly maxAbsolute: number;
  /** max |a − b| / max |a|: relative to the first model's largest logit. */
  readonly maxRelative: number;
  /** Tokens after which the logits, V each, were compared. */
  readonly positions: number;
}

/**
 * Whether two models give the same logits after every token of a text, cut into windows that don't overlap. They may
 * differ in everything but the vocabulary, so this is the proof that an expansion preserves the function. The stores may
 * be on different backends. Memory beside the weights: two forward passes and their logits, 2·T·V floats.
 *
 * @param a, b a model's config and its weights under the checkpoint's names
 * @param ids the text's tokens, at least one
 * @throws EvalError for vocabularies of different sizes, ids outside them, and logits that are not finite
 */
export async function compareLogits(
  configA: ModelConfig,
  storeA: Store,
  configB: ModelConfig,
  storeB: Store,
  ids: Int32Array,
  options: CompareLogitsOptions = {},
): Promise<LogitsComparison> {
  const { sequenceLength = 128, signal } = options;
  const V = configA.vocabSize;
  if (configB.vocabSize !== V) {
    throw new EvalError(`both models need one vocabulary to be compared, got ${V} and ${configB.vocabSize} tokens`);
  }
  checkIds(ids, V);
  const batches = windows(ids, { sequenceLength, batch: 1, least: 1 });
  const runners = [logitsOf(configA, storeA), logitsOf(configB, storeB)] as const;
  const result = { identical: true, maxAbsolute: 0, positions: 0 };
  let largest = 0;
  try {
    for (const [w, window] of batches.entries()) {
      const a = await finiteLogits(runners[0], window, "first", signal);
      const b = await finiteLogits(runners[1], window, "second", signal);
      const bitsOfA = new Uint32Array(a.buffer, a.byteOffset, a.length);
      const bitsOfB = new Uint32Array(b.buffer, b.byteOffset, b.length);
      for (let i = 0; i < a.length; i++) {
        if (bitsOfA[i] !== bitsOfB[i]) result.identical = false;
        result.maxAbsolute = Math.max(result.maxAbsolute, Math.abs(a[i]! - b[i]!));
        largest = Math.max(largest, Math.abs(a[i]!));
      }
      result.positions += window.length;
      options.onProgress?.(w + 1, batches.length);
    }
  } finally {
    for (const runner of runners) runner.free();
  }
  // Where the first model's logits are all zero there is no scale; any difference is then infinitely large.
  const maxRelative = result.maxAbsolute === 0 ? 0 : result.maxAbsolute / largest;
  return { ...result, maxRelative };
}

function logitsOf(config: ModelConfig, store: Store): ForwardRunner {
  return new ForwardRunner(config, store, (_, { final, head }) => matmul(final, head, { transposeB: true }));
}

async function finiteLogits(
  runner: ForwardRunner,
  window: WindowBatch,
  which: string,
  signal: AbortSignal | undefined,
): Promise<Float32Array> {
  const logits = await runner.run(window, {}, signal);
  if (logits.every(Number.isFinite)) return logits;
  throw new EvalError(
    `the ${which} model's logits are not all finite; its weights hold NaN or Infinity, or overflow float32`,
  );
}
