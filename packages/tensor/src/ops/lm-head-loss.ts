import { accumulatorOf, type TypedArray } from "../dtype.js";
import type { Tensor } from "../graph.js";
import { operandBytes, type OpDefinition } from "../op.js";
import { columns, compatible, expectShape, rows, size } from "../shape.js";
import { matmulF64, packF64, transposed } from "./matmul-loops.js";

/** Targets of this value are not scored: loss and gradient 0 there. (As PyTorch's cross_entropy.) */
export const IGNORE_TARGET = -100;

/**
 * LM head and cross-entropy in one: nll[n] = logsumexp_v(h_n·W_v) − h_n·W_{target n}, in nats; 0 where the target is
 * IGNORE_TARGET. h [..., D], W [V, D], targets i32 [...]; nll [N]. Also yields the log-sum-exp [N] for the backward op; both
 * are f32 for bf16.
 * The logits [N, V] are never stored: the reference takes a panel of rows at a time, and so does its backward.
 */
export function lmHeadLoss(h: Tensor, w: Tensor, targets: Tensor): Tensor {
  return h.graph.apply("lm_head_loss", [h, w, targets])[0]!;
}

const PANEL = 64;

/** Calls `body` with the logits of each panel of rows, f64 [count, V] row-major. W stays packed in slot 1. */
function forEachPanel(
  h: TypedArray,
  w: TypedArray,
  n: number,
  v: number,
  d: number,
  body: (logits: Float64Array, first: number, count: number) => void,
): void {
  const right = packF64(w, v, d, false, 1);
  const logits = new Float64Array(PANEL * v);
  for (let first = 0; first < n; first += PANEL) {
    const count = Math.min(PANEL, n - first);
    const left = packF64(h.subarray(first * d, (first + count) * d), count, d, false, 0);
    matmulF64(left, right, logits, count, v, d);
    body(logits, first, count);
  }
}

export const lmHeadLossOp: OpDefinition = {
  infer([h, w, targets]) {
    const types = compatible(h!, w!) && targets!.dtype === "i32";
    const ok = types && columns(h!.shape) === columns(w!.shape) && w!.shape.length === 2;
    expectShape(
      ok && size(targets!.shape) === rows(h!.shape),
      "lm_head_loss",
      "h [..., D], W [V, D], targets i32 [...]",
      h!,
      w!,
      targets!,
    );
    const perToken = { shape: [rows(h!.shape)], dtype: accumulatorOf(h!.dtype) };
    return [perToken, perToken];
  },
  cost([h, w, targets], [nll, lse]) {
    const matmulFlops = 2 * rows(h!.shape) * w!.shape[0]! * columns(h!.shape);
    const softmax = 3 * rows(h!.shape) * w!.shape[0]!;
    return { flops: matmulFlops + softmax, matmulFlops, bytes: operandBytes(h!, w!, targets!, nll!, lse!) };
  },
  gradient({ input, output, outputGradient, needs }) {
    if (!needs(0) && !needs(1)) return [];
    const dnll = outputGradient(0);
    const attrs = { hidden: needs(0), weight: needs(1) };
    const operands = [dnll, input(0), input(1), input(2), output(1)];
    const gradients = dnll.graph.apply("lm_head_loss_backward", operands, attrs).values();
    return [attrs.hidden ? gradients.next().value : undefined, attrs.weight ? gradients.next().value : undefined];
  },
  reference([h, w, targets], [nll, lse]) {
    const [v, d] = w!.shape as [number, number];
    forEachPanel(h!.data, w!.data, targets!.data.length, v, d, (logits, first, count) => {
      for (let i = 0; i < count; i++) {
        const row = logits.subarray(i * v, (i + 1) * v);
        let max = -Infinity;
        for (let j = 0; j < v; j++) max = Math.max(max, row[j]!);
        let total = 0;
        for (let j = 0; j < v; j++) total += Math.exp(row[j]! - max);
        const target = targets!.data[first + i]!;
        if (target !== IGNORE_TARGET && (target < 0 || target >= v)) {
          throw new RangeError(`lm_head_loss: target ${target} at position ${first + i} is outside 0..${v - 1}`);
        }
        lse!.data[first + i] = max + Math.log(total);
        nll!.data[first + i] = target === IGNORE_TARGET ? 0 : max + Math.log(total) - row[target]!;
      }
    });
  },
};

/**
 * With g[n, v] = dnll[n]·(softmax(h_n·W)_v − [v = target n]): dh = g·W, dW = gᵀ·h; either is left out if not asked for.
 * Operands dnll [N], h [..., D], W [V, D], targets, log-sum-exp [N].
 */
export const lmHeadLossBackwardOp: OpDefinition = {
  infer([dnll, h, w, targets, lse], { hidden, weight }) {
    const n = rows(h!.shape);
    const perToken = [dnll!, targets!, lse!].every((t) => size(t.shape) === n) && targets!.dtype === "i32";
    const ok = perToken && w!.shape.length === 2 && columns(h!.shape) === columns(w!.shape);
    const wanted = "dnll [N], h [..., D], W [V, D], targets i32 [...], log-sum-exp [N]";
    expectShape(ok, "lm_head_loss_backward", wanted, dnll!, h!, w!, targets!, lse!);
    return [
      ...(hidden ? [{ shape: h!.shape, dtype: h!.dtype }] : []),
      ...(weight ? [{ shape: w!.shape, dtype: accumulatorOf(h!.dtype) }] : []),
    ];
  },
  // Computing the logits again is work, but not model FLOPs.
  cost(inputs, outputs, { hidden, weight }) {
    const [, h, w] = inputs;
    const product = 2 * rows(h!.shape) * w!.shape[0]! * columns(h!.shape);
    const matmulFlops = product * (Number(hidden) + Number(weight));
    const softmax = 3 * rows(h!.shape) * w!.shape[0]!;
    return { flops: matmulFlops + product + softmax, matmulFlops, bytes: operandBytes(...inputs, ...outputs) };
  },
  reference([dnll, h, w, targets, lse], outputs, { hidden, weight }) {
    const [v, d] = w!.shape as [number, number];
    const [hData, wData] = [h!.data, w!.data];
    const dh = hidden ? outputs[0]!.data : null;
    const dw = weight ? new Float64Array(v * d) : null;
    const weightT = hidden ? transposed(Float64Array.from(wData), v, d) : null;
    const product = new Float64Array(Math.max(v, PANEL) * d);
    forEachPanel(h!.data, w!.data, targets!.data.length, v, d, (g, first, count) => {
      for (let i = 0; i < count; i++) {
        const target = targets!.data[first + i]!;
        const scale = target === IGNORE_TARGET ? 0 : dnll!.data[first + i]!;
        for (let j = 0; j < v; j++) g[i * v + j] = scale * Math.exp(g[i * v + j]! - lse!.data[first + i]!);
        if (scale !== 0) g[i * v + target]! -= scale;
      }
      if (dh && weightT) {
        matmulF64(g, weightT, product, count, d, v);
        dh.set(product.subarray(0, count * d), first * d);
      }
      if (dw) {
        const rowsOfH = Float64Array.from(hData.subarray(first * d, (first + count) * d));
        matmulF64(transposed(g, count, v), transposed(rowsOfH, count, d), product, v, d, count);
        for (let j = 0; j < dw.length; j++) dw[j]! += product[j]!;
      }
    });
    if (dw) outputs[hidden ? 1 : 0]!.data.set(dw);
  },
};
