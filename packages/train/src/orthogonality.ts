/** A or B of an adapter as `rank` vectors: vector k's element i lies at k·`vector` + i·`element`. */
export interface Vectors {
  readonly values: Float32Array;
  readonly rank: number;
  readonly length: number;
  readonly vector: number;
  readonly element: number;
}

/** Rows of A [rank, in]. */
export function rowsOf(values: Float32Array, rank: number): Vectors {
  return { values, rank, length: values.length / rank, vector: values.length / rank, element: 1 };
}

/** Columns of B [out, rank]. */
export function columnsOf(values: Float32Array, rank: number): Vectors {
  return { values, rank, length: values.length / rank, vector: 1, element: rank };
}

/**
 * How far vectors are from being orthonormal, P = ‖V·Vᵀ − I‖ (Frobenius) with the vectors as V's rows; adds
 * `weight`·∂P/∂V = weight·2·(V·Vᵀ − I)·V / P to `gradient`, which lies as the vectors do. Where P is 0 nothing is added, as PyTorch does.
 * A and B of AdaLoRA (Zhang et al. 2023, arXiv:2303.10512; PEFT takes the norm, the paper its square).
 */
export function addOrthogonality(vectors: Vectors, weight: number, gradient: Float32Array): number {
  const { values, rank, length, vector, element } = vectors;
  const excess = new Float64Array(rank * rank);
  for (let k = 0; k < rank; k++) {
    for (let l = 0; l <= k; l++) {
      let dot = 0;
      for (let i = 0; i < length; i++) {
        dot += values[k * vector + i * element]! * values[l * vector + i * element]!;
      }
      excess[k * rank + l] = excess[l * rank + k] = dot - (k === l ? 1 : 0);
    }
  }
  const penalty = Math.sqrt(excess.reduce((sum, x) => sum + x * x, 0));
  if (penalty === 0) return 0;
  const scale = (2 * weight) / penalty;
  const sums = new Float64Array(length);
  for (let k = 0; k < rank; k++) {
    sums.fill(0);
    for (let l = 0; l < rank; l++) {
      const factor = excess[k * rank + l]!;
      for (let i = 0; i < length; i++) sums[i]! += factor * values[l * vector + i * element]!;
    }
    for (let i = 0; i < length; i++) gradient[k * vector + i * element]! += scale * sums[i]!;
  }
  return penalty;
}
