import { type CaseInput, i32, type KernelCase, normal } from "../case.js";

interface Sizes {
  B?: number;
  T: number;
  /** Keys in the cache; default T. */
  S?: number;
  H: number;
  K: number;
  E: number;
  window?: number;
  segments?: number;
  offset?: number;
  bench?: true;
}

const tolerance = {
  value: 2e-5,
  reason: "scores up to ±20 in f32 are off by 2e-6, which exp makes relative; sums of up to 1024 terms",
};

/** Backward sums are over products of four rounded factors and cancel in dp − delta. */
const backwardTolerance = { value: 5e-5, reason: "as forward, and dp − delta cancels up to half of its digits' lead" };

function operands({ B = 1, T, S = T, H, K, E, segments, offset }: Sizes): CaseInput[] {
  const qkv = [normal(B, T, H * E), normal(B, S, K * E), normal(B, S, K * E)];
  if (segments) qkv.push(i32({ kind: "segments", meanLength: segments }, B, T));
  if (offset !== undefined) qkv.push(i32({ kind: "values", values: [offset] }, 1));
  return qkv;
}

function describe(sizes: Sizes): string {
  const { B = 1, T, S = T, H, K, E, window, segments, offset } = sizes;
  const extras = [
    window ? `window ${window}` : "",
    segments ? "segments" : "",
    offset === undefined ? "" : `offset ${offset} of ${S}`,
  ];
  return [`B${B} T${T} H${H} K${K} E${E}`, ...extras.filter(Boolean)].join(" ");
}

function attentionCase(sizes: Sizes): KernelCase {
  const { H, K, E, window = 0, segments, offset, bench } = sizes;
  const attrs = {
    heads: H,
    kvHeads: K,
    scale: E ** -0.5,
    window,
    segments: segments !== undefined,
    offset: offset !== undefined,
  };
  return {
    name: `attention ${describe(sizes)}`,
    op: "attention",
    attrs,
    inputs: operands(sizes),
    tolerance,
    ...(bench && { bench }),
  };
}

/** Operands do, q, k, v, o, lse [, segments]; o and lse are what the forward op gives for them. */
function backwardCase(sizes: Sizes): KernelCase {
  const { B = 1, T, H, E } = sizes;
  const { attrs } = attentionCase(sizes);
  const [q, k, v, ...extra] = operands(sizes) as [CaseInput, CaseInput, CaseInput, ...CaseInput[]];
  const inputs = sizes.segments ? [1, 2, 3, 6] : [1, 2, 3];
  const forward = (output: number, ...shape: number[]): CaseInput => ({
    shape,
    dtype: "f32",
    fill: { kind: "forward", op: "attention", attrs, inputs, output },
  });
  return {
    name: `attention_backward ${describe(sizes)}`,
    op: "attention_backward",
    attrs,
    inputs: [normal(B, T, H * E), q, k, v, forward(0, B, T, H * E), forward(1, B, H, T), ...extra],
    tolerance: backwardTolerance,
    ...(sizes.bench && { bench: sizes.bench }),
  };
}

/** Shapes that forward and backward share. */
const trained: readonly Sizes[] = [
  { T: 1, H: 1, K: 1, E: 2 },
  { T: 5, H: 1, K: 1, E: 4 },
  { B: 2, T: 33, H: 4, K: 4, E: 8 },
  { B: 2, T: 17, H: 6, K: 2, E: 16 },
  { T: 65, H: 2, K: 1, E: 64 },
  { T: 19, H: 2, K: 2, E: 128 },
  { T: 80, H: 2, K: 1, E: 80 }, // a width between those of tiles
  { T: 20, H: 2, K: 1, E: 192, window: 9 },
  { T: 7, H: 3, K: 1, E: 6 },
  { T: 40, H: 2, K: 1, E: 8, window: 7 },
  { T: 12, H: 2, K: 2, E: 8, window: 1 },
  { T: 9, H: 2, K: 2, E: 8, window: 64 }, // wider than the sequence
  { B: 2, T: 37, H: 4, K: 2, E: 8, segments: 6 },
  { T: 24, H: 2, K: 2, E: 8, segments: 1 }, // every token alone
  { B: 2, T: 30, H: 2, K: 1, E: 8, segments: 9, window: 5 },
  { T: 150, H: 3, K: 1, E: 128 }, // several tiles of keys and of queries
  { B: 2, T: 200, H: 2, K: 1, E: 64, segments: 50, window: 70 },
];

export const cases: readonly KernelCase[] = [
  ...trained.map(attentionCase),
  ...trained.map(backwardCase),
  // Over a cache: one token, several, the first, the last that fits.
  attentionCase({ T: 1, S: 1, H: 2, K: 1, E: 8, offset: 0 }),
  attentionCase({ T: 1, S: 33, H: 4, K: 2, E: 64, offset: 20 }),
  attentionCase({ B: 3, T: 1, S: 17, H: 4, K: 1, E: 128, offset: 16 }),
  attentionCase({ B: 2, T: 5, S: 19, H: 2, K: 2, E: 8, offset: 7 }),
  attentionCase({ B: 2, T: 20, S: 150, H: 2, K: 1, E: 64, offset: 111, window: 100 }),
  attentionCase({ T: 4, S: 40, H: 2, K: 1, E: 8, offset: 30, window: 6 }),
  attentionCase({ T: 1024, H: 4, K: 2, E: 64, bench: true }),
  attentionCase({ T: 2048, H: 8, K: 2, E: 128, bench: true }),
  attentionCase({ T: 1, S: 1024, H: 12, K: 4, E: 64, offset: 1023, bench: true }),
  attentionCase({ T: 1, S: 4096, H: 32, K: 8, E: 128, offset: 4095, bench: true }),
  backwardCase({ T: 1024, H: 4, K: 2, E: 64, bench: true }),
  backwardCase({ T: 2048, H: 8, K: 2, E: 128, bench: true }),
];
