import { byteSize, type TypedArray } from "./dtype.js";
import type { Tensor } from "./graph.js";
import type { TensorType } from "./shape.js";

/** An op's static parameters: plain data, so that a plan can be printed, diffed and sent to native code. */
export type Attrs = Readonly<Record<string, number | boolean>>;

/**
 * Work of one op. `flops` counts a multiply-add as 2; `matmulFlops` is the part of it that "model FLOPs" (and
 * so MFU) counts: matrix products, attention at half of T² where causal, and the LM head, without what is computed
 * a second time. `bytes` is the least traffic: each operand once.
 */
export interface Cost {
  readonly flops: number;
  readonly matmulFlops: number;
  readonly bytes: number;
}

/** An operand as the reference executor sees it. */
export interface View {
  readonly data: TypedArray;
  readonly shape: readonly number[];
}

/** What a gradient rule may ask for while it emits nodes. */
export interface GradientContext {
  /** The forward node's attributes. */
  readonly attrs: Attrs;
  /** Shape and dtype of forward input i, at no cost. */
  inputType(i: number): TensorType;
  /** Forward input i, recomputed where its block is (so ask only for what the rule reads). */
  input(i: number): Tensor;
  /** Forward output i, likewise. */
  output(i: number): Tensor;
  /** The gradient of the loss with respect to output i; throws if that output received none. */
  outputGradient(i: number): Tensor;
  /** Whether input i needs a gradient at all. */
  needs(i: number): boolean;
}

/** One op: one file in ops/ holds its shape rule, cost, gradient and reference. */
export interface OpDefinition {
  /** Shape rule; throws ShapeError. */
  infer(inputs: readonly TensorType[], attrs: Attrs): TensorType[];
  cost(inputs: readonly TensorType[], outputs: readonly TensorType[], attrs: Attrs): Cost;
  /** Emits the backward nodes; returns per input its gradient, undefined where none is needed. Absent: not differentiable. */
  gradient?(context: GradientContext): readonly (Tensor | undefined)[];
  /** Indices of inputs that are written, where they are given. They must be state or parameters. */
  readonly mutates?: readonly number[];
  /**
   * Never kept for the backward pass, but computed again each time that it is read there: results that are cheap to make from
   * what outlives the run, and large.
   */
  readonly rematerialize?: true;
  /** Plain loops in the operands' own precision, accumulating in f64. */
  reference(inputs: readonly View[], outputs: readonly View[], attrs: Attrs): void;
}

/** Bytes when each operand is moved once. */
export function operandBytes(...types: readonly TensorType[]): number {
  let total = 0;
  for (const t of types) {
    let n = byteSize(t.dtype);
    for (const d of t.shape) n *= d;
    total += n;
  }
  return total;
}

/** Cost of an elementwise or reducing op: `flopsPerElement` for each element of `over`, nothing that MFU counts. */
export function elementwiseCost(flopsPerElement: number, over: TensorType, operands: readonly TensorType[]): Cost {
  let n = 1;
  for (const d of over.shape) n *= d;
  return { flops: flopsPerElement * n, matmulFlops: 0, bytes: operandBytes(...operands) };
}
