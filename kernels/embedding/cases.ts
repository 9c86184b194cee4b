import { EXACT, i32, type KernelCase, normal } from "../case.js";

const backwardTolerance = { value: 5e-6, reason: "f32 sums over the positions that share an id, up to 300" };

function embeddingCases(V: number, D: number, ids: readonly number[], bench?: true): KernelCase[] {
  const label = `V${V} D${D} ids ${ids.join("×")}`;
  const operand = i32({ kind: "ids", limit: V }, ...ids);
  const tagged = bench && { bench };
  return [
    {
      name: `embedding ${label}`,
      op: "embedding",
      attrs: {},
      inputs: [normal(V, D), operand],
      tolerance: EXACT,
      ...tagged,
    },
    {
      name: `embedding_backward ${label}`,
      op: "embedding_backward",
      attrs: { rows: V },
      inputs: [normal(...ids, D), operand],
      tolerance: backwardTolerance,
      ...tagged,
    },
  ];
}

export const cases: readonly KernelCase[] = [
  ...embeddingCases(1, 1, [1]),
  ...embeddingCases(11, 7, [2, 3]), // some ids several times, some never
  ...embeddingCases(3, 33, [300]), // many positions per id
  ...embeddingCases(257, 64, [65]),
  ...embeddingCases(70, 168, [40]),
  // More columns, and more positions, than a warp takes at once.
  ...embeddingCases(3, 1032, [2]),
  ...embeddingCases(2, 521, [3]),
  ...embeddingCases(130, 3, [2100]),
  ...embeddingCases(32000, 768, [8, 1024], true),
];
