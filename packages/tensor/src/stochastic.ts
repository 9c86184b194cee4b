/**
 * Stochastic rounding to bf16: x becomes one of its two neighbours, the nearer one the likelier, so that the mean of the result is x
 * (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision", section 3). 16 bits, uniform, are added to the f32's bits
 * below the last that is kept, and what remains below is dropped: a carry rounds away from zero with the probability of what is dropped.
 *
 * The bits come from a counter, not a state: they are a hash of seed, step and element, the same on every device, in any order, and
 * after a resumed run. kernels/cuda/stochastic.h is the same in CUDA.
 */

/** The final mix of MurmurHash3 (Appleby 2011): a bijection of 32 bits in which each bit of the input moves half of the output's. */
function mix(h: number): number {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

/** What the bits of one update share. `seed` and `step` are 32 bits each. */
export function stochasticKey(seed: number, step: number): number {
  return mix(mix(seed + 0x9e3779b9) ^ step);
}

/** 16 bits for element i of a flat range. */
function bitsOf(key: number, i: number): number {
  return mix(mix(i ^ key) + Math.floor(i / 2 ** 32) + key) >>> 16;
}

const scratch = new Float32Array(1);
const asBits = new Uint32Array(scratch.buffer);

/** The f32 value x of element i as a bf16 value. Infinities and NaNs stay what they are. */
export function roundStochastically(x: number, key: number, i: number): number {
  scratch[0] = x;
  if ((asBits[0]! & 0x7f800000) !== 0x7f800000) asBits[0] = (asBits[0]! + bitsOf(key, i)) & 0xffff0000;
  return scratch[0];
}
