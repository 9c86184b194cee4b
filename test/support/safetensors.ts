import { readFileSync } from "node:fs";
import { readHeader } from "@slayer/checkpoint";

/** All tensors of a small fixture file, F32 and I32 only. */
export async function readFixture(
  file: string,
): Promise<Map<string, { shape: readonly number[]; data: Float32Array | Int32Array }>> {
  const bytes = readFileSync(file);
  const { tensors } = await readHeader(file);
  const result = new Map<string, { shape: readonly number[]; data: Float32Array | Int32Array }>();
  for (const { name, dtype, shape, begin, end } of tensors.values()) {
    const { buffer } = new Uint8Array(bytes.subarray(begin, end));
    result.set(name, { shape, data: dtype === "I32" ? new Int32Array(buffer) : new Float32Array(buffer) });
  }
  return result;
}

/** max |a − b| / max |b|: the error relative to the tensor's own scale. NaN anywhere gives NaN. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Infinity;
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < b.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    if (Number.isNaN(difference)) return NaN;
    worst = Math.max(worst, difference);
    scale = Math.max(scale, Math.abs(b[i]!));
  }
  return scale === 0 ? worst : worst / scale;
}
