import { bf16, type CaseInput, EXACT, index, type KernelCase, normal, ROUNDED_ONCE, ROUNDED_TO_BF16 } from "../case.js";

const accumulateCase = (shape: readonly number[], bench?: true): KernelCase => ({
  name: `accumulate ${shape.join("×")}`,
  op: "accumulate",
  attrs: {},
  inputs: [normal(...shape), normal(...shape)],
  tolerance: ROUNDED_ONCE,
  ...(bench && { bench }),
});

/** From the type of `x` to that of `target`. */
const copyCase = (target: CaseInput, x: CaseInput, bench?: true): KernelCase => ({
  name: `copy ${x.dtype} to ${target.dtype} ${x.shape.join("×")}`,
  op: "copy",
  attrs: {},
  inputs: [target, x],
  tolerance: target.dtype === "bf16" && x.dtype === "f32" ? ROUNDED_TO_BF16 : EXACT,
  ...((target.dtype === "bf16" || x.dtype === "bf16") && { storage: "bf16 weights" }),
  ...(bench && { bench }),
});

const clearCase = (shape: readonly number[], bench?: true): KernelCase => ({
  name: `clear ${shape.join("×")}`,
  op: "clear",
  attrs: {},
  inputs: [normal(...shape)],
  tolerance: EXACT,
  ...(bench && { bench }),
});

const cacheCase = (B: number, S: number, T: number, D: number, offset: number, bench?: true): KernelCase => ({
  name: `cache_write B${B} T${T} D${D} at ${offset} of ${S}`,
  op: "cache_write",
  attrs: {},
  inputs: [normal(B, S, D), normal(B, T, D), index(offset)],
  tolerance: EXACT,
  ...(bench && { bench }),
});

export const cases: readonly KernelCase[] = [
  ...[[1], [3], [257], [5, 7, 11]].flatMap((shape) => [
    accumulateCase(shape),
    clearCase(shape),
    copyCase(normal(...shape), normal(...shape)),
    copyCase(bf16(...shape), normal(...shape)),
    copyCase(normal(...shape), bf16(...shape)),
    copyCase(bf16(...shape), bf16(...shape)),
  ]),
  cacheCase(1, 1, 1, 1, 0),
  cacheCase(1, 9, 1, 33, 8), // decoding, the last free row
  cacheCase(2, 17, 5, 31, 7),
  cacheCase(3, 6, 6, 8, 0), // the whole cache
  accumulateCase([8192, 768], true),
  clearCase([16384, 768], true),
  copyCase(bf16(16384, 768), normal(16384, 768), true),
  cacheCase(8, 4096, 1024, 768, 512, true),
];
