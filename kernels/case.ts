import type { Attrs, OpName } from "@slayer/tensor";

/** How the values of an operand come about; deterministic, see values.ts. */
export type Fill =
  /** mean + scale·z, z normal. Defaults 0 and 1. */
  | { readonly kind: "normal"; readonly scale?: number; readonly mean?: number }
  /** scale·z²: second moments and sums of squares, which are never negative. */
  | { readonly kind: "squares"; readonly scale: number }
  | { readonly kind: "values"; readonly values: readonly number[] }
  /** Uniform integers 0 … limit−1; every `ignoreEvery`-th is IGNORE_TARGET. */
  | { readonly kind: "ids"; readonly limit: number; readonly ignoreEvery?: number }
  /** from, from+1, … along the last dim, the same in each row. */
  | { readonly kind: "positions"; readonly from: number }
  /** Document numbers 0, 1, … along the last dim, a new one after 1 … 2·meanLength−1 tokens. */
  | { readonly kind: "segments"; readonly meanLength: number }
  /** Rotary frequencies θ^(−i/n), i = 0 … n−1, with θ = 10000. */
  | { readonly kind: "frequencies" }
  /** Output `output` of `op` applied to the case's operands `inputs`: what the forward pass hands to a backward op. */
  | {
      readonly kind: "forward";
      readonly op: OpName;
      readonly attrs: Attrs;
      readonly inputs: readonly number[];
      readonly output: number;
    };

export interface CaseInput {
  readonly shape: readonly number[];
  readonly dtype: "f32" | "bf16" | "i32";
  readonly fill: Fill;
}

/** How far a kernel may be from the f64 reference: max |kernel − reference| / max |reference|, per output. */
export interface Tolerance {
  readonly value: number;
  /** One line: which roundings it leaves room for. */
  readonly reason: string;
}

/** One op on operands of given shapes and values. Plain data. */
export interface KernelCase {
  /** Unique; starts with the op's name. */
  readonly name: string;
  readonly op: OpName;
  readonly attrs: Attrs;
  readonly inputs: readonly CaseInput[];
  readonly tolerance: Tolerance;
  /** Which operands are bf16, if any: weights beside f32 activations, or whatever is not a sum (see bf16.ts). */
  readonly storage?: "bf16 weights" | "bf16";
  /** A realistic shape, for timing. Too large to be checked on every run. */
  readonly bench?: true;
}

export const normal = (...shape: number[]): CaseInput => ({ shape, dtype: "f32", fill: { kind: "normal" } });

/** Normal values, rounded to bf16. */
export const bf16 = (...shape: number[]): CaseInput => ({ shape, dtype: "bf16", fill: { kind: "normal" } });

export const f32 = (fill: Fill, ...shape: number[]): CaseInput => ({ shape, dtype: "f32", fill });

export const i32 = (fill: Fill, ...shape: number[]): CaseInput => ({ shape, dtype: "i32", fill });

/** One f32 element of this value. */
export const scalar = (value: number): CaseInput => f32({ kind: "values", values: [value] }, 1);

/** One i32 element of this value. */
export const index = (value: number): CaseInput => i32({ kind: "values", values: [value] }, 1);

export const EXACT: Tolerance = { value: 0, reason: "moves values, computes nothing" };

/** 2⁻²³ is one unit in the last place of f32, relative to the largest value: twice the rounding of one operation. */
export const ROUNDED_ONCE: Tolerance = { value: 2 ** -23, reason: "one f32 operation per element" };

/** 2⁻⁸ is half a unit in the last place of bf16, relative to the largest value. */
export const ROUNDED_TO_BF16: Tolerance = { value: 2 ** -8, reason: "rounded to the nearest bf16" };
