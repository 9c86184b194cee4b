import {
  type Attrs,
  decode,
  definitionOf,
  encode,
  IGNORE_TARGET,
  type OpName,
  size,
  type TensorType,
  type View,
} from "@slayer/tensor";
import type { CaseInput, Fill, KernelCase } from "./case.js";

/** An operand's values as every backend gets them: i32, or f32, already rounded where the operand is bf16. */
export type CaseValues = Float32Array | Int32Array;

/** Values for the operands of a case; the same ones each time. */
export function makeInputs(kernelCase: KernelCase): CaseValues[] {
  const next = uniform(hash(kernelCase.name));
  const values = kernelCase.inputs.map((input): CaseValues => {
    const array = input.dtype === "i32" ? new Int32Array(size(input.shape)) : new Float32Array(size(input.shape));
    fillIn(array, input, next);
    round(array, input);
    return array;
  });
  kernelCase.inputs.forEach(({ fill }, i) => {
    if (fill.kind !== "forward") return;
    const operands = fill.inputs.map((j) => ({ data: values[j]!, shape: kernelCase.inputs[j]!.shape }));
    values[i]!.set(evaluate(fill.op, fill.attrs, operands).outputs[fill.output]!.data);
    round(values[i]!, kernelCase.inputs[i]!);
  });
  return values;
}

/** To what an operand of this type can hold. */
function round(values: CaseValues, { dtype }: CaseInput): void {
  if (dtype !== "bf16") return;
  const bits = encode(values, dtype);
  values.set(decode(new Uint8Array(bits.buffer), dtype, values.length));
}

/** Types of an op's outputs on operands of these types. */
export function inferOutputs(op: OpName, attrs: Attrs, inputs: readonly TensorType[]): TensorType[] {
  return definitionOf(op).infer(inputs, attrs);
}

/**
 * The op in f64, by the reference, on copies of these values. `inputs` are the operands afterwards: an op that changes
 * state has its results there.
 */
export function evaluate(op: OpName, attrs: Attrs, operands: readonly View[]): { inputs: View[]; outputs: View[] } {
  const inputs = operands.map(({ data, shape }): View & TensorType => {
    const ints = data instanceof Int32Array;
    return { data: ints ? data.slice() : Float64Array.from(data), shape, dtype: ints ? "i32" : "f64" };
  });
  const outputs = inferOutputs(op, attrs, inputs).map(({ shape }) => ({ data: new Float64Array(size(shape)), shape }));
  definitionOf(op).reference(inputs, outputs, attrs);
  return { inputs, outputs };
}

function fillIn(array: CaseValues, { shape, fill }: CaseInput, next: () => number): void {
  const n = array.length;
  const perRow = shape.at(-1)!;
  switch (fill.kind) {
    case "normal":
      for (let i = 0; i < n; i++) array[i] = (fill.mean ?? 0) + (fill.scale ?? 1) * gaussian(next);
      return;
    case "squares":
      for (let i = 0; i < n; i++) array[i] = fill.scale * gaussian(next) ** 2;
      return;
    case "values":
      if (fill.values.length !== n) throw new RangeError(`${fill.values.length} values for ${n} elements`);
      array.set(fill.values);
      return;
    case "ids":
      fillIds(array, fill, next);
      return;
    case "positions":
      for (let i = 0; i < n; i++) array[i] = fill.from + (i % perRow);
      return;
    case "segments":
      fillSegments(array, perRow, fill.meanLength, next);
      return;
    case "frequencies":
      for (let i = 0; i < n; i++) array[i] = 10000 ** (-i / n);
      return;
    case "forward":
      return; // once the operands it comes from are there
    default:
      fill satisfies never;
  }
}

function fillIds(array: CaseValues, { limit, ignoreEvery }: Fill & { kind: "ids" }, next: () => number): void {
  for (let i = 0; i < array.length; i++) {
    const ignored = ignoreEvery !== undefined && i % ignoreEvery === 0;
    array[i] = ignored ? IGNORE_TARGET : Math.floor(next() * limit);
  }
}

function fillSegments(array: CaseValues, perRow: number, meanLength: number, next: () => number): void {
  let left = 0;
  for (let i = 0; i < array.length; i++) {
    const first = i % perRow === 0;
    if (first) array[i] = 0;
    else array[i] = array[i - 1]! + (left === 0 ? 1 : 0);
    if (first || left === 0) left = 1 + Math.floor(next() * (2 * meanLength - 1));
    left--;
  }
}

/** FNV-1a: each case has its own values, whatever cases come and go around it. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/** Uniform in [0, 1): mulberry32. */
function uniform(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Standard normal (Box & Muller 1958). */
function gaussian(next: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next());
}
