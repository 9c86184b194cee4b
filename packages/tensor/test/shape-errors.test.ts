import { type Attrs, type DType, Graph, type OpName, ops, ShapeError } from "@slayer/tensor";
import { describe, expect, it } from "vitest";

/** "f32 2,3" */
type Type = string;

interface Wrong {
  operands: Type[];
  attrs?: Attrs;
  message: string;
}

const causal = { heads: 2, kvHeads: 1, scale: 1, window: 0, segments: false, offset: false };
const noDims = { transposeA: false, transposeB: false };
const attentionWanted = "q [B,T,H·E], k and v [B,T,K·E] of one type, H = 2, K = 1, H a multiple of K";
const adamwWanted = "p, g, m, v of one shape, factor [1], step [3], all of one type";
const stochasticWanted = "p, g, m, v of one shape, factor [1], step [4], p bf16 and the others f32";
const workingWanted = "; working bf16 of the shape of a p in f32, for none that is rounded stochastically";

/** A wrong shape or type for each op, and the whole message. An op that takes any operand has none. */
const wrong: Record<OpName, Wrong[]> = {
  accumulate: [
    { operands: ["f32 2,3", "f32 3,2"], message: "wanted two operands of one type, got f32[2,3], f32[3,2]" },
    { operands: ["f32 2", "f64 2"], message: "wanted two operands of one type, got f32[2], f64[2]" },
  ],
  adamw: [
    {
      operands: ["f32 4", "f32 4", "f32 4", "f32 5", "f32 1", "f32 3"],
      message: `wanted ${adamwWanted}, got f32[4], f32[4], f32[4], f32[5], f32[1], f32[3]`,
    },
    {
      operands: ["f32 4", "f32 4", "f32 4", "f32 4", "f32 1", "f32 2"],
      message: `wanted ${adamwWanted}, got f32[4], f32[4], f32[4], f32[4], f32[1], f32[2]`,
    },
    {
      operands: ["f32 4", "f32 4", "f32 4", "f32 4", "f32 1", "f32 3", "f32 4"],
      message: `wanted ${adamwWanted}${workingWanted}, got f32[4], f32[4], f32[4], f32[4], f32[1], f32[3], f32[4]`,
    },
    {
      operands: ["bf16 4", "f32 4", "f32 4", "f32 4", "f32 1", "f32 4", "f64 4"],
      attrs: { stochastic: true, seed: 1 },
      message: `wanted ${stochasticWanted}${workingWanted}, got bf16[4], f32[4], f32[4], f32[4], f32[1], f32[4], f64[4]`,
    },
    {
      operands: ["bf16 4", "f32 4", "f32 4", "f32 4", "f32 1", "f32 3"],
      attrs: { stochastic: true, seed: 1 },
      message: `wanted ${stochasticWanted}, got bf16[4], f32[4], f32[4], f32[4], f32[1], f32[3]`,
    },
  ],
  add: [{ operands: ["f32 2,3", "f32 6"], message: "wanted two operands of one type, got f32[2,3], f32[6]" }],
  add_bias: [
    {
      operands: ["f32 2,3", "f32 2"],
      message: "wanted x [..., D], b [D] of one type, or f32 and bf16, got f32[2,3], f32[2]",
    },
  ],
  attention: [
    {
      operands: ["f32 1,4,8", "f32 1,5,4", "f32 1,5,4"],
      attrs: causal,
      message: `wanted ${attentionWanted}, got f32[1,4,8], f32[1,5,4], f32[1,5,4]`,
    },
    {
      operands: ["f32 1,4,8", "f32 1,4,4", "f32 1,4,8"],
      attrs: causal,
      message: `wanted ${attentionWanted}, got f32[1,4,8], f32[1,4,4], f32[1,4,8]`,
    },
    {
      operands: ["f32 1,4,7", "f32 1,4,4", "f32 1,4,4"],
      attrs: causal,
      message: `wanted ${attentionWanted}, got f32[1,4,7], f32[1,4,4], f32[1,4,4]`,
    },
    {
      operands: ["f32 1,4,6", "f32 1,4,4", "f32 1,4,4"],
      attrs: { ...causal, heads: 3, kvHeads: 2 },
      message: `wanted ${attentionWanted.replace("H = 2, K = 1", "H = 3, K = 2")}, got f32[1,4,6], f32[1,4,4], f32[1,4,4]`,
    },
    {
      operands: ["f32 1,4,8", "f32 1,3,4", "f32 1,3,4", "i32 1"],
      attrs: { ...causal, offset: true },
      message: `wanted ${attentionWanted.replace("[B,T,K·E]", "[B,S≥T,K·E]")}, got f32[1,4,8], f32[1,3,4], f32[1,3,4]`,
    },
    {
      operands: ["f32 1,4,8", "f32 1,4,4", "f32 1,4,4", "i32 1,3"],
      attrs: { ...causal, segments: true },
      message: "wanted segments i32 [B,S], got i32[1,3]",
    },
    {
      operands: ["f32 1,4,8", "f32 1,4,4", "f32 1,4,4", "f32 1"],
      attrs: { ...causal, offset: true },
      message: "wanted offset i32 [1], got f32[1]",
    },
  ],
  attention_backward: [
    {
      operands: ["f32 1,4,8", "f32 1,4,8", "f32 1,4,4", "f32 1,4,4", "f32 1,4,8", "f32 1,4,2"],
      attrs: causal,
      message:
        "wanted do, q and o [B,T,H·E], k and v [B,T,K·E], log-sum-exp [B,H,T], " +
        "got f32[1,4,8], f32[1,4,8], f32[1,4,4], f32[1,4,4], f32[1,4,8], f32[1,4,2]",
    },
  ],
  broadcast: [
    { operands: ["f32 2"], attrs: { d0: 3 }, message: "wanted one element, got f32[2]" },
    { operands: ["f32 1"], attrs: { d0: 0 }, message: "wanted extents that are positive integers, got [0]" },
  ],
  cache_write: [
    {
      operands: ["f32 1,4,2", "f32 1,5,2", "i32 1"],
      message: "wanted cache [B,S,D], x [B,T≤S,D], offset i32 [1], got f32[1,4,2], f32[1,5,2], i32[1]",
    },
    {
      operands: ["f32 1,4,2", "f32 1,1,2", "f32 1"],
      message: "wanted cache [B,S,D], x [B,T≤S,D], offset i32 [1], got f32[1,4,2], f32[1,1,2], f32[1]",
    },
  ],
  clear: [],
  clip_factor: [
    { operands: ["f32 2", "f32 1"], attrs: { maxNorm: 1 }, message: "wanted two scalars, got f32[2], f32[1]" },
  ],
  copy: [
    {
      operands: ["bf16 4", "f32 5"],
      message: "wanted two operands of one shape and of one type, or f32 and bf16, got bf16[4], f32[5]",
    },
    {
      operands: ["bf16 4", "f64 4"],
      message: "wanted two operands of one shape and of one type, or f32 and bf16, got bf16[4], f64[4]",
    },
  ],
  dequantize: [
    {
      operands: ["i32 3,2", "f32 3,1"],
      attrs: { bits: 4, columns: 17 },
      message: "wanted codes i32 [R,3] of 4 or 8 bits and scales f32 [R,1] for 17 columns, got i32[3,2], f32[3,1]",
    },
    {
      operands: ["i32 2,17", "f32 2,1"],
      attrs: { bits: 8, columns: 65 },
      message: "wanted codes i32 [R,17] of 4 or 8 bits and scales f32 [R,2] for 65 columns, got i32[2,17], f32[2,1]",
    },
    {
      operands: ["i32 2,1", "f32 2,1"],
      attrs: { bits: 2, columns: 16 },
      message: "wanted codes i32 [R,1] of 4 or 8 bits and scales f32 [R,1] for 16 columns, got i32[2,1], f32[2,1]",
    },
  ],
  embedding: [{ operands: ["f32 9,4", "f32 3"], message: "wanted table [..., D], ids i32, got f32[9,4], f32[3]" }],
  embedding_backward: [
    {
      operands: ["f32 3,4", "i32 2"],
      attrs: { rows: 9 },
      message: "wanted dy [..., D], ids i32 [...], got f32[3,4], i32[2]",
    },
  ],
  fill: [
    {
      operands: [],
      attrs: { value: 1, f64: false, d0: 2, d1: 1.5 },
      message: "wanted extents that are positive integers, got [2,1.5]",
    },
  ],
  lm_head_loss: [
    {
      operands: ["f32 2,3,4", "f32 9,5", "i32 2,3"],
      message: "wanted h [..., D], W [V, D], targets i32 [...], got f32[2,3,4], f32[9,5], i32[2,3]",
    },
    {
      operands: ["f32 2,3,4", "f32 9,4", "i32 5"],
      message: "wanted h [..., D], W [V, D], targets i32 [...], got f32[2,3,4], f32[9,4], i32[5]",
    },
  ],
  lm_head_loss_backward: [
    {
      operands: ["f32 5", "f32 2,3,4", "f32 9,4", "i32 2,3", "f32 6"],
      attrs: { hidden: true, weight: true },
      message:
        "wanted dnll [N], h [..., D], W [V, D], targets i32 [...], log-sum-exp [N], " +
        "got f32[5], f32[2,3,4], f32[9,4], i32[2,3], f32[6]",
    },
  ],
  lm_head_loss_with_gradient: [
    {
      operands: ["f32 5", "f32 2,3,4", "f32 9,4", "i32 2,3"],
      attrs: { hidden: true, weight: true },
      message:
        "wanted dnll [N], h [..., D], W [V, D], targets i32 [...], and hidden or weight, " +
        "got f32[5], f32[2,3,4], f32[9,4], i32[2,3]",
    },
    {
      operands: ["f32 6", "f32 2,3,4", "f32 9,4", "i32 2,3"],
      attrs: { hidden: false, weight: false },
      message:
        "wanted dnll [N], h [..., D], W [V, D], targets i32 [...], and hidden or weight, " +
        "got f32[6], f32[2,3,4], f32[9,4], i32[2,3]",
    },
  ],
  matmul: [
    {
      operands: ["f32 2,3", "f32 4,5"],
      attrs: noDims,
      message: "wanted the same inner extent, not 3 and 4, got f32[2,3], f32[4,5]",
    },
    {
      operands: ["f32 3,2", "f32 5,4"],
      attrs: { transposeA: true, transposeB: true },
      message: "wanted the same inner extent, not 3 and 4, got f32[3,2], f32[5,4]",
    },
    {
      operands: ["f32 2,3", "f64 3,5"],
      attrs: noDims,
      message: "wanted operands of one type, or f32 and bf16, got f32[2,3], f64[3,5]",
    },
  ],
  matmul_accumulate: [
    {
      operands: ["f32 3,5", "f32 2,4", "f32 2,5"],
      attrs: { transposeA: true, transposeB: false },
      message: "wanted target of the product's shape and type, got f32[3,5], f32[2,4], f32[2,5]",
    },
  ],
  matmul_add: [
    {
      operands: ["f32 2,3", "f32 3,4", "f32 2,5"],
      attrs: noDims,
      message: "wanted c of the product's shape and type, got f32[2,3], f32[3,4], f32[2,5]",
    },
    {
      operands: ["bf16 2,3", "bf16 3,4", "f32 2,4"],
      attrs: noDims,
      message: "wanted c of the product's shape and type, got bf16[2,3], bf16[3,4], f32[2,4]",
    },
  ],
  matmul_swiglu: [
    {
      operands: ["f32 2,3", "f32 4,3", "f32 5,3"],
      attrs: { keep: false },
      message: "wanted two weights of one shape and type, got f32[2,3], f32[4,3], f32[5,3]",
    },
  ],
  rmsnorm: [
    {
      operands: ["f32 2,4", "f32 2"],
      attrs: { eps: 1e-5 },
      message: "wanted x [..., D], w [D] of one type, or f32 and bf16, got f32[2,4], f32[2]",
    },
  ],
  rmsnorm_backward_input: [
    {
      operands: ["f32 2,4", "f32 2,4", "f32 4", "f32 4"],
      message: "wanted dy and x [..., D], w [D], r [rows], got f32[2,4], f32[2,4], f32[4], f32[4]",
    },
  ],
  rmsnorm_backward_input_add: [
    {
      operands: ["f32 2,4", "f32 2,4", "f32 4", "f32 2", "f32 4,2"],
      message: "wanted c of dy's shape and type, got f32[2,4], f32[4,2]",
    },
    {
      operands: ["bf16 2,4", "bf16 2,4", "bf16 4", "f32 2", "f32 2,4"],
      message: "wanted c of dy's shape and type, got bf16[2,4], f32[2,4]",
    },
  ],
  rmsnorm_backward_weight: [
    {
      operands: ["f32 2,4", "f32 4,2", "f32 2"],
      message: "wanted dy and x [..., D], r [rows], got f32[2,4], f32[4,2], f32[2]",
    },
  ],
  rope: [
    {
      operands: ["f32 1,3,8", "i32 1,4", "f32 2"],
      attrs: { inverse: false },
      message: "wanted x [B,T,H·E], positions i32 [B,T], frequencies [E/2], got f32[1,3,8], i32[1,4], f32[2]",
    },
    {
      operands: ["f32 1,3,8", "i32 1,3", "f32 3"],
      attrs: { inverse: false },
      message: "wanted x [B,T,H·E], positions i32 [B,T], frequencies [E/2], got f32[1,3,8], i32[1,3], f32[3]",
    },
  ],
  sum: [],
  sum_of_squares: [],
  sum_rows: [],
  swiglu: [
    { operands: ["f32 2,3", "f32 3,2"], message: "wanted gate and up of one shape and type, got f32[2,3], f32[3,2]" },
  ],
  swiglu_backward: [
    {
      operands: ["f32 2,3", "f32 2,3", "f32 6"],
      message: "wanted dy, gate and up of one shape, got f32[2,3], f32[2,3], f32[6]",
    },
  ],
};

const listed = Object.entries(wrong).flatMap(([op, cases]) => cases.map((c) => ({ op: op as OpName, ...c })));

describe("an op given operands that don't fit says what it wanted and what came", () => {
  it.each(listed)("$op: $message", ({ op, operands, attrs, message }) => {
    const g = new Graph();
    const tensors = operands.map((type, i) => {
      const [dtype, shape] = type.split(" ") as [DType, string];
      return g.state(`t${i}`, shape.split(",").map(Number), dtype);
    });
    const apply = () => g.apply(op, tensors, attrs);
    expect(apply).toThrow(ShapeError);
    expect(apply).toThrow(new ShapeError(`${op}: ${message}`));
    expect(g.nodes).toEqual([]); // nothing half recorded
  });

  it("only the ops that take one operand of any shape have nothing to say", () => {
    const silent = Object.keys(ops).filter((op) => wrong[op as OpName].length === 0);
    expect(silent).toEqual(["clear", "sum", "sum_of_squares", "sum_rows"]);
  });
});
