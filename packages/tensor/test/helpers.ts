import {
  type DType,
  type Graph,
  Program,
  Store,
  type Tensor,
  type TypedArray,
  createReferenceBackend,
  size,
} from "@slayer/tensor";

/** Deterministic uniform values in (-1, 1): a 32-bit LCG is plenty for test data. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}

export function randomArray(n: number, next: () => number, dtype: DType = "f64"): TypedArray {
  const values = dtype === "f64" ? new Float64Array(n) : new Float32Array(n);
  for (let i = 0; i < n; i++) values[i] = next();
  return values;
}

/** Compiles `graph` on a fresh reference backend whose parameters and state hold `values`. */
export async function compile(
  graph: Graph,
  outputs: Record<string, Tensor>,
  values: Record<string, TypedArray>,
  backend = createReferenceBackend(),
): Promise<{ program: Program; store: Store }> {
  const store = new Store(backend);
  for (const t of graph.persistent.values()) {
    if (t.role === "input") continue;
    store.add(t);
    const given = values[t.name];
    if (given) await store.write(t.name, given);
  }
  return { program: await Program.compile(graph, outputs, store), store };
}

export function filled(t: Tensor, next: () => number): TypedArray {
  return randomArray(size(t.shape), next, t.dtype);
}

/** max |a − b| / max |b|. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < b.length; i++) {
    worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
    scale = Math.max(scale, Math.abs(b[i]!));
    if (Number.isNaN(a[i]!)) return NaN;
  }
  return scale === 0 ? worst : worst / scale;
}
