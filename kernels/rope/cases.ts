import { f32, i32, type KernelCase, normal } from "../case.js";

interface Sizes {
  B?: number;
  T: number;
  H: number;
  E: number;
  from?: number;
  inverse?: boolean;
  bench?: true;
}

function ropeCase({ B = 1, T, H, E, from = 0, inverse = false, bench }: Sizes): KernelCase {
  const last = from + T - 1;
  return {
    name: `rope${inverse ? " inverse" : ""} B${B} T${T} H${H} E${E} from ${from}`,
    op: "rope",
    attrs: { inverse },
    inputs: [normal(B, T, H * E), i32({ kind: "positions", from }, B, T), f32({ kind: "frequencies" }, E / 2)],
    tolerance: {
      value: Math.max(2e-6, 2 * last * 2 ** -24),
      reason: `position·frequency up to ${last} radians rounded to f32 is off by up to ${last}·2⁻²⁴; twice that`,
    },
    ...(bench && { bench }),
  };
}

export const cases: readonly KernelCase[] = [
  ropeCase({ T: 1, H: 1, E: 2 }),
  ropeCase({ T: 7, H: 3, E: 6 }),
  ropeCase({ B: 2, T: 9, H: 2, E: 64 }),
  ropeCase({ T: 5, H: 3, E: 128, inverse: true }),
  ropeCase({ B: 3, T: 1, H: 4, E: 8, from: 31 }), // decoding
  ropeCase({ T: 3, H: 2, E: 64, from: 4093 }), // far out, where angles are large
  ropeCase({ T: 3, H: 2, E: 64, from: 4093, inverse: true }),
  ropeCase({ B: 8, T: 1024, H: 12, E: 64, bench: true }),
];
