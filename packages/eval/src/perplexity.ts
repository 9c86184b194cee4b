import type { ModelConfig } from "@slayer/checkpoint";
import type { Adapt } from "@slayer/model";
import { IGNORE_TARGET, lmHeadLoss, type Store } from "@slayer/tensor";
import { clusteredMean } from "./clustered-mean.js";
import { EvalError } from "./errors.js";
import { ForwardRunner } from "./forward-runner.js";
import { checkIds, windows } from "./windows.js";

export interface PerplexityOptions {
  /** T, tokens per window, at least 2. */
  readonly sequenceLength: number;
  /** Windows per forward pass. Default 1. */
  readonly batch?: number;
  /** UTF-8 bytes of the text that `ids` stands for. */
  readonly bytes: number;
  /** The model's adapter, its weights in `store` too. */
  readonly adapt?: Adapt;
  readonly signal?: AbortSignal;
  readonly onProgress?: (windowsDone: number, windowsTotal: number) => void;
}

/** Plain JSON data. */
export interface Perplexity {
  /** Mean negative log-likelihood of the scored tokens. */
  readonly nats_per_token: number;
  /** Of `nats_per_token`, clustered by window (see clustered-mean.ts); null where there is one window only. */
  readonly standard_error: number | null;
  /** exp(nats_per_token) */
  readonly perplexity: number;
  /** nats_per_token / ln 2 · token ids / bytes */
  readonly bits_per_byte: number;
  /** Scored tokens: all but the first of each window. */
  readonly tokens: number;
  readonly sequence_length: number;
  /** The text's, as given. */
  readonly bytes: number;
  /** In order: tokens scored, and the sum of their negative log-likelihoods. */
  readonly windows: readonly { readonly tokens: number; readonly nats: number }[];
}

/**
 * How well a model predicts a text, cut into windows of `sequenceLength` tokens that don't overlap. In each window every
 * token but the first is scored, given those before it in the window. The last window may be shorter; a single token
 * left over is not scored.
 *
 * Bits per byte follow Gao et al. ("The Pile", arXiv:2101.00027, §3.1): (L_T / L_B) · nats per token / ln 2, where L_T
 * is the length of the text in tokens, `ids.length` with any special tokens in it, and L_B its length in bytes. So a
 * token that is not scored counts as an average one. To divide the nats of the scored tokens by all bytes instead would
 * make short windows look better, by a factor (T − 1)/T.
 *
 * @param store the model's weights under the checkpoint's names, on any backend; of several, the first that has a name
 * @param ids the whole text, special tokens as its tokenizer adds them
 * @throws EvalError for a text, ids or options that cannot be scored, and for a loss that is not finite
 */
export async function perplexity(
  config: ModelConfig,
  store: Store | readonly Store[],
  ids: Int32Array,
  options: PerplexityOptions,
): Promise<Perplexity> {
  const { sequenceLength, batch = 1, bytes, signal } = options;
  checkIds(ids, config.vocabSize);
  if (!Number.isSafeInteger(bytes) || bytes < 1) {
    throw new EvalError(`bytes must be the text's length in UTF-8, a positive integer, got ${bytes}`);
  }
  const batches = windows(ids, { sequenceLength, batch, least: 2 });
  const total = batches.reduce((sum, b) => sum + b.batch, 0);
  const scored: { tokens: number; nats: number }[] = [];
  const runner = new ForwardRunner(
    config,
    store,
    (graph, { final, head }, shape) =>
      lmHeadLoss(final, head, graph.input("targets", [shape.batch, shape.length], "i32")),
    options.adapt,
  );
  try {
    for (const window of batches) {
      const T = window.length;
      const targets = window.ids.map((_, i) => ((i + 1) % T === 0 ? IGNORE_TARGET : window.ids[i + 1]!));
      const nll = await runner.run(window, { targets }, signal); // [B·T], 0 where not scored
      for (let b = 0; b < window.batch; b++) {
        let nats = 0;
        for (let i = b * T; i < (b + 1) * T; i++) nats += nll[i]!;
        if (!Number.isFinite(nats)) {
          throw new EvalError(
            `the loss in window ${scored.length} is ${nats}; the weights hold NaN or Infinity, or overflow float32`,
          );
        }
        scored.push({ tokens: T - 1, nats });
      }
      options.onProgress?.(scored.length, total);
    }
  } finally {
    runner.free();
  }

  const tokens = scored.map((w) => w.tokens);
  const { mean, standardError } = clusteredMean(
    scored.map((w) => w.nats),
    tokens,
  );
  return {
    nats_per_token: mean,
    standard_error: standardError,
    perplexity: Math.exp(mean),
    bits_per_byte: ((mean / Math.LN2) * ids.length) / bytes,
    tokens: tokens.reduce((a, b) => a + b, 0),
    sequence_length: sequenceLength,
    bytes,
    windows: scored,
  };
}
