import { Breath } from "./breath.js";
import { ImportanceError } from "./errors.js";

/**
 * Angles in radians between all pairs of residual states, summed over tokens: [S, S] row-major, S = number of states;
 * only the upper triangle (first state < second) is filled. State s is `states[s]`, [rows, D]; the tokens are rows
 * `first` … `first + count − 1`.
 *
 * With unit vectors u and v the angle is 2·atan2(‖u − v‖, ‖u + v‖) (W. Kahan, "How Futile are Mindless Assessments of
 * Roundoff", §12), in f64. arccos(u·v) would lose half the digits just where they matter, between a state and the next:
 * one rounding of a cosine near 1 moves the angle by 1e-8. A zero state has no direction; the formula makes it
 * orthogonal to every other state, as if the cosine were 0, and equal to another zero state.
 */
export async function sumAngles(
  states: readonly Float32Array[],
  D: number,
  first: number,
  count: number,
  signal?: AbortSignal,
): Promise<Float64Array> {
  const S = states.length;
  const sums = new Float64Array(S * S);
  const units = states.map(() => new Float64Array(D));
  const breath = new Breath();
  for (let row = first; row < first + count; row++) {
    for (let s = 0; s < S; s++) normalise(states[s]!.subarray(row * D, (row + 1) * D), units[s]!, s);
    for (let a = 0; a < S; a++) {
      for (let b = a + 1; b < S; b++) sums[a * S + b]! += angle(units[a]!, units[b]!);
    }
    await breath.take(signal);
  }
  return sums;
}

function angle(u: Float64Array, v: Float64Array): number {
  let difference = 0;
  let sum = 0;
  for (let i = 0; i < u.length; i++) {
    const minus = u[i]! - v[i]!;
    const plus = u[i]! + v[i]!;
    difference += minus * minus;
    sum += plus * plus;
  }
  return 2 * Math.atan2(Math.sqrt(difference), Math.sqrt(sum));
}

function normalise(x: Float32Array, unit: Float64Array, state: number): void {
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += x[i]! * x[i]!;
  if (!Number.isFinite(squares)) {
    throw new ImportanceError(
      `the residual stream after ${state} blocks holds a value that is not finite; ` +
        "the weights hold NaN or Infinity, or overflow float32",
    );
  }
  const norm = Math.sqrt(squares) || 1;
  for (let i = 0; i < x.length; i++) unit[i] = x[i]! / norm;
}
