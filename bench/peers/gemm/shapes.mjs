/** The products of training (a linear layer with `input` and `output` features on 1,024 tokens), of decoding and of short prompts. */

/** @typedef {{ layout: "NT" | "NN" | "TN", m: number, n: number, k: number }} Shape */

/** [input, output]: squares, feed-forward widths of small models, a vocabulary. */
export const linearLayers = [
  [1024, 1024],
  [64, 64],
  [256, 256],
  [512, 512],
  [768, 768],
  [2048, 2048],
  [256, 688],
  [688, 256],
  [512, 1376],
  [1376, 512],
  [256, 4096],
  [512, 4096],
];

/**
 * @param {number[][]} layers
 * @returns {Shape[]}
 */
export function requests(layers) {
  const tokens = 1024;
  const training = layers.flatMap(([input = 0, output = 0]) => [
    /** @type {Shape} */ ({ layout: "NT", m: tokens, n: output, k: input }), // y = x·Wᵀ
    /** @type {Shape} */ ({ layout: "NN", m: tokens, n: input, k: output }), // dx = dy·W
    /** @type {Shape} */ ({ layout: "TN", m: output, n: input, k: tokens }), // dW = dyᵀ·x
  ]);
  const decoding = [1, 4].flatMap((m) => [
    /** @type {Shape} */ ({ layout: "NT", m, n: 768, k: 768 }),
    /** @type {Shape} */ ({ layout: "NT", m, n: 4096, k: 2048 }),
    /** @type {Shape} */ ({ layout: "NN", m, n: 4096, k: 2048 }),
  ]);
  // Prompts of 16 to 64 tokens: B is packed for few rows of A.
  const prefill = [16, 32, 64].flatMap((m) => [
    /** @type {Shape} */ ({ layout: "NT", m, n: 768, k: 768 }),
    /** @type {Shape} */ ({ layout: "NT", m, n: 4096, k: 2048 }),
  ]);
  return [...training, ...decoding, ...prefill];
}
