import type { Attrs, OpName, TensorType } from "@slayer/tensor";

/** An operand or a result, as it lies in memory. */
export interface Held {
  readonly type: TensorType;
  readonly bytes: Uint8Array;
}

const PLACES = 48;

/**
 * Some elements of a large result against f64: what an index that overflows would get wrong, and small cases cannot show. For matrix
 * products and attention without segments or offset; undefined for other ops. Returns max |difference| / max |expected|.
 */
export function spotCheck(op: OpName, attrs: Attrs, inputs: readonly Held[], output: Held): number | undefined {
  const expected = op === "matmul" ? product(attrs, inputs) : op === "attention" ? attended(attrs, inputs) : undefined;
  if (expected === undefined) return undefined;
  const got = reader(output);
  const total = output.type.shape.reduce((a, b) => a * b, 1);
  let [worst, scale] = [0, 0];
  for (let n = 0; n < PLACES; n++) {
    // The first, the last, and others spread over all of it.
    const at = n === PLACES - 1 ? total - 1 : Math.floor((total / (PLACES - 1)) * n);
    const wanted = expected(at);
    worst = Math.max(worst, Math.abs(got(at) - wanted));
    scale = Math.max(scale, Math.abs(wanted));
  }
  return worst / scale;
}

function reader({ type, bytes }: Held): (at: number) => number {
  if (type.dtype === "f32") {
    const values = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    return (at) => values[at]!;
  }
  const bits = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2);
  // A bf16 is the upper half of an f32; one at a time, without making an array for each.
  const wide = new Uint32Array(1);
  const value = new Float32Array(wide.buffer);
  return (at) => {
    wide[0] = bits[at]! << 16;
    return value[0]!;
  };
}

function product({ transposeA, transposeB }: Attrs, [a, b]: readonly Held[]): (at: number) => number {
  const [left, right] = [reader(a!), reader(b!)];
  const [rowsA, columnsA] = a!.type.shape as [number, number];
  const [rowsB, columnsB] = b!.type.shape as [number, number];
  const k = transposeA ? rowsA : columnsA;
  const n = transposeB ? rowsB : columnsB;
  return (at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = 0;
    for (let l = 0; l < k; l++) {
      sum +=
        left(transposeA ? l * columnsA + i : i * columnsA + l) *
        right(transposeB ? j * columnsB + l : l * columnsB + j);
    }
    return sum;
  };
}

function attended({ heads, kvHeads, scale }: Attrs, [q, k, v]: readonly Held[]): (at: number) => number {
  const [query, key, value] = [reader(q!), reader(k!), reader(v!)];
  const [, T, width] = q!.type.shape as [number, number, number];
  const [H, K] = [heads as number, kvHeads as number];
  const E = width / H;
  return (at) => {
    const [b, i, h, e] = [Math.floor(at / (T * width)), Math.floor(at / width) % T, Math.floor(at / E) % H, at % E];
    const kv = Math.floor(h / (H / K));
    const rowOf = (j: number) => ((b * T + j) * K + kv) * E;
    const scores = Array.from({ length: i + 1 }, (_, j) => {
      let sum = 0;
      for (let l = 0; l < E; l++) sum += query(((b * T + i) * H + h) * E + l) * key(rowOf(j) + l);
      return sum * (scale as number);
    });
    const most = scores.reduce((a, s) => Math.max(a, s), -Infinity);
    let [total, sum] = [0, 0];
    scores.forEach((s, j) => {
      const p = Math.exp(s - most);
      total += p;
      sum += p * value(rowOf(j) + e);
    });
    return sum / total;
  };
}
