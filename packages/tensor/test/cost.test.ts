import { type Attrs, definitionOf, type OpName, type TensorType } from "@slayer/tensor";
import { describe, expect, it } from "vitest";

const f32 = (...shape: number[]): TensorType => ({ shape, dtype: "f32" });
const i32 = (...shape: number[]): TensorType => ({ shape, dtype: "i32" });

function costOf(op: OpName, attrs: Attrs, ...inputs: TensorType[]) {
  const definition = definitionOf(op);
  return definition.cost(inputs, definition.infer(inputs, attrs), attrs);
}

const attentionAttrs = (heads: number, kvHeads: number, more: Attrs = {}) => ({
  heads,
  kvHeads,
  scale: 1,
  window: 0,
  segments: false,
  offset: false,
  ...more,
});

describe("matmul counts 2·m·n·k", () => {
  it.each([
    [false, false, [3, 7], [7, 5]],
    [false, true, [3, 7], [5, 7]],
    [true, false, [7, 3], [7, 5]],
    [true, true, [7, 3], [5, 7]],
  ] as const)("transposeA %s, transposeB %s", (transposeA, transposeB, a, b) => {
    const cost = costOf("matmul", { transposeA, transposeB }, f32(...a), f32(...b));
    expect(cost).toEqual({ flops: 210, matmulFlops: 210, bytes: 4 * (21 + 35 + 15) });
  });

  it("with all leading dims as rows", () => {
    const cost = costOf("matmul", { transposeA: false, transposeB: true }, f32(2, 3, 7), f32(5, 7));
    expect(cost.flops).toBe(2 * 6 * 5 * 7);
  });
});

it("a norm's gradient with the residual's: the FLOPs of both, and the sum of their bytes but for what lies between", () => {
  const [x, w, r] = [f32(6, 8), f32(8), f32(6)];
  const parts = [costOf("rmsnorm_backward_input", {}, x, x, w, r), costOf("add", {}, x, x)];
  const sum = (of: "flops" | "bytes") => parts.reduce((n, cost) => n + cost[of], 0);
  const whole = costOf("rmsnorm_backward_input_add", {}, x, x, w, r, x);
  expect(whole).toEqual({ flops: sum("flops"), matmulFlops: 0, bytes: sum("bytes") - 2 * 4 * 48 });
});

describe("attention counts its two products over the visible pairs", () => {
  const [B, T, H, E] = [2, 64, 4, 8];

  it("causal: T²/2 pairs", () => {
    const x = f32(B, T, H * E);
    const { matmulFlops, bytes } = costOf("attention", attentionAttrs(H, H), x, x, x);
    expect(matmulFlops).toBe(2 * (2 * B * H * E * ((T * T) / 2)));
    expect(bytes).toBe(4 * (4 * B * T * H * E + B * H * T)); // q, k, v, o and the log-sum-exp; no T×T matrix
  });

  it("grouped queries: as many FLOPs, fewer bytes", () => {
    const [q, kv] = [f32(B, T, H * E), f32(B, T, E)];
    const grouped = costOf("attention", attentionAttrs(H, 1), q, kv, kv);
    const full = costOf("attention", attentionAttrs(H, H), q, q, q);
    expect(grouped.matmulFlops).toBe(full.matmulFlops);
    expect(full.bytes - grouped.bytes).toBe(4 * 2 * B * T * (H - 1) * E);
  });

  it("window w: w·T − w²/2 pairs, within w/2 of the exact count; wider than T it is causal", () => {
    const x = f32(1, T, E);
    const pairs = (window: number) =>
      costOf("attention", attentionAttrs(1, 1, { window }), x, x, x).matmulFlops / (4 * E);
    for (const w of [1, 5, 63]) {
      let exact = 0;
      for (let i = 0; i < T; i++) exact += Math.min(i + 1, w);
      expect(pairs(w)).toBe(w * T - (w * w) / 2);
      expect(exact - pairs(w)).toBe(w / 2); // the diagonal counts half
    }
    expect(pairs(1000)).toBe((T * T) / 2);
  });

  it("over a cache: every row sees all S keys, or a window of them", () => {
    const [q, cache] = [f32(1, 3, E), f32(1, 100, E)];
    const flops = (window: number) =>
      costOf("attention", attentionAttrs(1, 1, { window, offset: true }), q, cache, cache, i32(1)).matmulFlops;
    expect(flops(0)).toBe(4 * E * 3 * 100);
    expect(flops(10)).toBe(4 * E * 3 * 10);
  });

  it("backward: four products for the model, a fifth that is only work", () => {
    const [x, lse] = [f32(B, T, H * E), f32(B, H, T)];
    const forward = costOf("attention", attentionAttrs(H, H), x, x, x);
    const backward = costOf("attention_backward", attentionAttrs(H, H), x, x, x, x, x, lse);
    expect(backward.matmulFlops).toBe(2 * forward.matmulFlops);
    expect(backward.flops).toBeGreaterThanOrEqual(2.5 * forward.matmulFlops);
  });
});

describe("the LM head", () => {
  const [N, V, D] = [6, 50, 16];
  const [h, w, targets, perToken] = [f32(2, 3, D), f32(V, D), i32(2, 3), f32(N)];

  it("counts 2·N·V·D, and moves no logits", () => {
    const { matmulFlops, bytes } = costOf("lm_head_loss", {}, h, w, targets);
    expect(matmulFlops).toBe(2 * N * V * D);
    expect(bytes).toBe(4 * (N * D + V * D + N + 2 * N));
  });

  it.each([
    [true, true, 2],
    [true, false, 1],
    [false, true, 1],
  ])("backward to hidden %s, weight %s: %d products for the model, one more as work", (hidden, weight, n) => {
    const cost = costOf("lm_head_loss_backward", { hidden, weight }, perToken, h, w, targets, perToken);
    expect(cost.matmulFlops).toBe(n * 2 * N * V * D);
    expect(cost.flops).toBe((n + 1) * 2 * N * V * D + 3 * N * V);
  });

  it("with its gradient: the model FLOPs of both, and no work beside them", () => {
    const cost = costOf("lm_head_loss_with_gradient", { hidden: true, weight: true }, perToken, h, w, targets);
    expect(cost.matmulFlops).toBe(3 * 2 * N * V * D);
    expect(cost.flops).toBe(3 * 2 * N * V * D + 6 * N * V);
    expect(cost.bytes).toBe(4 * (N + N * D + V * D + N + N + N * D + V * D));
  });
});

describe("elementwise ops move each operand once and count nothing for the model", () => {
  it.each([
    ["add", {}, [f32(3, 5), f32(3, 5)], 3 * 15],
    ["add_bias", {}, [f32(3, 5), f32(5)], 2 * 15 + 5],
    ["swiglu", {}, [f32(3, 5), f32(3, 5)], 3 * 15],
    ["swiglu_backward", {}, [f32(3, 5), f32(3, 5), f32(3, 5)], 5 * 15],
    ["rmsnorm", { eps: 1e-5 }, [f32(3, 5), f32(5)], 2 * 15 + 5 + 3],
    ["rope", { inverse: false }, [f32(1, 3, 8), i32(1, 3), f32(2)], 2 * 24 + 3 + 2],
    ["sum", {}, [f32(3, 5)], 15 + 1],
    ["embedding", {}, [f32(100, 5), i32(3)], 2 * 15], // only the rows asked for
    ["cache_write", {}, [f32(1, 100, 5), f32(1, 3, 5), i32(1)], 2 * 15],
    ["accumulate", {}, [f32(3, 5), f32(3, 5)], 3 * 15],
    ["clear", {}, [f32(3, 5)], 15],
    [
      "adamw",
      { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 },
      [f32(9), f32(9), f32(9), f32(9), f32(1), f32(3)],
      7 * 9,
    ],
    [
      "adamw",
      { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0 },
      [f32(10), f32(10), f32(10), f32(10), f32(1), f32(3), { shape: [10], dtype: "bf16" }],
      7.5 * 10,
    ],
  ] as const)("%s", (op, attrs, inputs, elements) => {
    const cost = costOf(op, attrs, ...inputs);
    expect(cost.bytes).toBe(4 * elements);
    expect(cost.matmulFlops).toBe(0);
  });
});
