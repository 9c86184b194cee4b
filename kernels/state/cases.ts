import { EXACT, index, type KernelCase, normal, ROUNDED_ONCE } from "../case.js";

const accumulateCase = (shape: readonly number[], bench?: true): KernelCase => ({
  name: `accumulate ${shape.join("×")}`,
  op: "accumulate",
  attrs: {},
  inputs: [normal(...shape), normal(...shape)],
  tolerance: ROUNDED_ONCE,
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
  ...[[1], [3], [257], [5, 7, 11]].flatMap((shape) => [accumulateCase(shape), clearCase(shape)]),
  cacheCase(1, 1, 1, 1, 0),
  cacheCase(1, 9, 1, 33, 8), // decoding, the last free row
  cacheCase(2, 17, 5, 31, 7),
  cacheCase(3, 6, 6, 8, 0), // the whole cache
  accumulateCase([8192, 768], true),
  clearCase([16384, 768], true),
  cacheCase(8, 4096, 1024, 768, 512, true),
];
