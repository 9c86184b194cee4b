import type { Attrs, OpName, TensorType } from "@slayer/tensor";

/** One op at a realistic size. */
export interface Shape {
  readonly name: string;
  readonly op: OpName;
  readonly attrs: Attrs;
  readonly inputs: readonly TensorType[];
  /** Values of i32 operands are 0 … limit − 1. */
  readonly limit?: number;
  /** Operands whose values must not be negative. */
  readonly positive?: readonly number[];
}

/** The sizes that shapes are made of: a block of a model, and the tokens that pass through it. */
export interface Sizes {
  readonly B: number;
  readonly T: number;
  readonly D: number;
  readonly F: number;
  readonly H: number;
  readonly E: number;
  readonly V: number;
}

/** A 7 B block, 16 k tokens. */
export const LARGE: Sizes = { B: 4, T: 4096, D: 4096, F: 11_008, H: 32, E: 128, V: 32_000 };

/** To try the program itself. */
export const TINY: Sizes = { B: 1, T: 32, D: 128, F: 192, H: 2, E: 64, V: 96 };

const tensor = (dtype: TensorType["dtype"], ...shape: number[]): TensorType => ({ shape, dtype });

/** The kernels of a training step at these sizes, in bf16 but for the optimizer. */
export function shapesOf({ B, T, D, F, H, E, V }: Sizes): Shape[] {
  const N = B * T;
  const matmul = (
    layout: "NT" | "NN" | "TN",
    m: number,
    n: number,
    k: number,
    dtype: "bf16" | "f32" = "bf16",
  ): Shape => {
    const [transposeA, transposeB] = [layout[0] === "T", layout[1] === "T"];
    return {
      name: `matmul ${layout} ${m}×${n}×${k}${dtype === "f32" ? ", f32" : ""}`,
      op: "matmul",
      attrs: { transposeA, transposeB, f32: transposeA },
      inputs: [
        transposeA ? tensor(dtype, k, m) : tensor(dtype, m, k),
        transposeB ? tensor(dtype, n, k) : tensor(dtype, k, n),
      ],
    };
  };
  const attention = (K: number, e: number): Shape[] => {
    const heads = (H * E) / e;
    const kvHeads = Math.min(K, heads);
    const attrs = { heads, kvHeads, scale: e ** -0.5, window: 0, segments: false, offset: false };
    const q = tensor("bf16", B, T, heads * e);
    const kv = tensor("bf16", B, T, kvHeads * e);
    const label = `B${B} T${T} H${heads} K${kvHeads} E${e}`;
    const lse = tensor("f32", B, heads, T);
    return [
      { name: `attention ${label}`, op: "attention", attrs, inputs: [q, kv, kv] },
      { name: `attention_backward ${label}`, op: "attention_backward", attrs, inputs: [q, q, kv, kv, q, lse] },
    ];
  };
  const x = tensor("bf16", N, D);
  const wide = tensor("bf16", N, F);
  const flat = tensor("f32", 8 * D * D);
  const adam = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
  const loss: readonly TensorType[] = [tensor("bf16", N / 2, D), tensor("bf16", V, D), tensor("i32", N / 2)];
  const perToken = tensor("f32", N / 2);
  return [
    matmul("NT", N, D, D),
    matmul("NT", N, F, D),
    matmul("NT", N, D, F),
    matmul("NT", N, V, D),
    matmul("NN", N, D, F),
    matmul("TN", F, D, N),
    matmul("NT", N / 4, D, D, "f32"),
    matmul("NN", N / 4, D, D, "f32"),
    matmul("TN", D, D, N / 4, "f32"),
    {
      name: `matmul_swiglu ${N}×${F}×${D}`,
      op: "matmul_swiglu",
      attrs: { keep: true },
      inputs: [x, tensor("bf16", F, D), tensor("bf16", F, D)],
    },
    {
      name: `matmul_add NT ${N}×${D}×${F}`,
      op: "matmul_add",
      attrs: { transposeA: false, transposeB: true },
      inputs: [wide, tensor("bf16", D, F), x],
    },
    {
      name: `matmul_accumulate TN ${F}×${D}×${N}`,
      op: "matmul_accumulate",
      attrs: { transposeA: true, transposeB: false, f32: true },
      inputs: [tensor("f32", F, D), wide, x],
    },
    ...attention(H, E),
    ...attention(Math.max(1, H / 4), E),
    ...attention(H, E / 2 >= 64 ? E / 2 : E),
    { name: `rmsnorm ${N}×${D}`, op: "rmsnorm", attrs: { eps: 1e-5 }, inputs: [x, tensor("bf16", D)] },
    {
      name: `rmsnorm_backward_input ${N}×${D}`,
      op: "rmsnorm_backward_input",
      attrs: {},
      inputs: [x, x, tensor("bf16", D), tensor("f32", N)],
    },
    {
      name: `rmsnorm_backward_input_add ${N}×${D}`,
      op: "rmsnorm_backward_input_add",
      attrs: {},
      inputs: [x, x, tensor("bf16", D), tensor("f32", N), x],
    },
    {
      name: `rmsnorm_backward_weight ${N}×${D}`,
      op: "rmsnorm_backward_weight",
      attrs: {},
      inputs: [x, x, tensor("f32", N)],
    },
    { name: `swiglu ${N}×${F}`, op: "swiglu", attrs: {}, inputs: [wide, wide] },
    { name: `swiglu_backward ${N}×${F}`, op: "swiglu_backward", attrs: {}, inputs: [wide, wide, wide] },
    {
      name: `rope B${B} T${T} H${H} E${E}`,
      op: "rope",
      attrs: { inverse: false },
      inputs: [tensor("bf16", B, T, H * E), tensor("i32", B, T), tensor("f32", E / 2)],
      limit: T,
    },
    { name: `add ${N}×${F}`, op: "add", attrs: {}, inputs: [wide, wide] },
    {
      name: `embedding V${V} D${D}`,
      op: "embedding",
      attrs: {},
      inputs: [tensor("bf16", V, D), tensor("i32", N)],
      limit: V,
    },
    {
      name: `embedding_backward V${V} D${D}`,
      op: "embedding_backward",
      attrs: { rows: V },
      inputs: [x, tensor("i32", N)],
      limit: V,
    },
    { name: `lm_head_loss ${N / 2} V${V} D${D}`, op: "lm_head_loss", attrs: {}, inputs: loss, limit: V },
    {
      name: `lm_head_loss_backward ${N / 2} V${V} D${D}, dh`,
      op: "lm_head_loss_backward",
      attrs: { hidden: true, weight: false },
      inputs: [perToken, ...loss, perToken],
      limit: V,
    },
    {
      name: `lm_head_loss_with_gradient ${N / 2} V${V} D${D}, dh`,
      op: "lm_head_loss_with_gradient",
      attrs: { hidden: true, weight: false },
      inputs: [perToken, ...loss],
      limit: V,
    },
    {
      name: `adamw ${flat.shape[0]}`,
      op: "adamw",
      attrs: adam,
      inputs: [flat, flat, flat, flat, tensor("f32", 1), tensor("f32", 3)],
      positive: [3],
    },
    { name: `sum_of_squares ${flat.shape[0]}`, op: "sum_of_squares", attrs: {}, inputs: [flat] },
    {
      name: `copy f32 to bf16 ${flat.shape[0]}`,
      op: "copy",
      attrs: {},
      inputs: [tensor("bf16", flat.shape[0]!), flat],
    },
    { name: `copy bf16 ${N}×${F}`, op: "copy", attrs: {}, inputs: [wide, wide] },
  ];
}
