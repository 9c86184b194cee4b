import {
  type Backend,
  byteLength,
  byteSize,
  type Cost,
  definitionOf,
  type DType,
  Graph,
  makePlan,
  size,
  type TensorType,
} from "@slayer/tensor";
import { median, spread } from "../statistics.js";
import { repeated } from "./random.js";
import type { Shape } from "./shapes.js";
import { spotCheck } from "./spot-check.js";

type Memory = ReturnType<Backend["allocate"]>;

export interface Timing {
  readonly name: string;
  readonly seconds: number;
  /** Interquartile range over the median. */
  readonly spread: number;
  readonly cost: Cost;
  /** Of some elements of the result against f64, where that is checked (spot-check.ts). */
  readonly error: number | undefined;
}

const SAMPLES = 9;
/** A sample lasts about this long, so that what a launch costs the host does not count. */
const SAMPLE_SECONDS = 0.02;
const MOST_REPEATS = 200;
const checkable: ReadonlySet<string> = new Set(["matmul", "attention"]);

/**
 * Seconds for one op, by a plan that holds it many times: what is timed is the device. Operands hold random values. Rejects where the
 * backend has no kernel.
 */
export async function timeOp(
  backend: Backend,
  shape: Shape,
  { samples = SAMPLES, check: checks = true } = {},
): Promise<Timing> {
  const { op, attrs, inputs, name } = shape;
  const graph = new Graph();
  const operands = inputs.map(({ shape: extents, dtype }, i) => graph.state(`operand ${i}`, extents, dtype));
  const outputs = graph.apply(op, operands, attrs);
  const once = makePlan(graph, Object.fromEntries(outputs.map((t, i) => [`output ${i}`, t])));
  const answer = backend.supports(once.steps[0]!);
  if (answer !== true) throw new Error(answer);

  const held: Memory[] = [];
  const allocate = (bytes: number) => {
    held.push(backend.allocate(bytes));
    return held.at(-1)!;
  };
  try {
    const [arena, empty] = [allocate(once.arenaBytes), allocate(once.inputBytes)];
    const memory = operands.map((t) => allocate(byteLength(t)));
    for (const [i, operand] of operands.entries()) await fill(backend, memory[i]!, operand, shape, i);
    // In the plan persistent tensors come in the order in which steps use them: that of the operands.
    const persistent = once.persistent.map((t) => ({
      buffer: memory[operands.findIndex((o) => o.name === t.name)]!,
      offset: 0,
    }));
    const bindings = { arena, inputs: empty, persistent };
    const run = async (repeats: number) => {
      const plan = { ...once, steps: Array.from({ length: repeats }, () => once.steps[0]!) };
      const executable = await backend.prepare(plan, bindings);
      return async () => {
        const start = performance.now();
        await backend.run(executable);
        return (performance.now() - start) / 1000;
      };
    };
    const check = async () => {
      const inputs = [];
      for (const [i, type] of operands.entries()) {
        inputs.push({ type, bytes: await backend.read(memory[i]!, 0, byteLength(type)) });
      }
      const { place } = once.outputs["output 0"]!;
      const type = outputs[0]!;
      const bytes = await backend.read(arena, place.in === "arena" ? place.offset : 0, byteLength(type));
      return spotCheck(op, attrs, inputs, { type, bytes });
    };
    const single = await run(1);
    await single();
    const first = await single();
    const repeats = Math.max(1, Math.min(MOST_REPEATS, Math.round(SAMPLE_SECONDS / first)));
    const many = await run(repeats);
    await many();
    const times: number[] = [];
    for (let i = 0; i < samples; i++) times.push((await many()) / repeats);
    const cost = definitionOf(op).cost(operands, outputs, attrs);
    const error = checks && checkable.has(op) ? await check() : undefined;
    return { name, seconds: median(times), spread: spread(times), cost, error };
  } finally {
    for (const buffer of held) backend.free(buffer);
  }
}

/** Elements that are made at a time: of a larger operand the same come again and again. */
const PIECE = 1 << 28;

async function fill(backend: Backend, buffer: Memory, { dtype, shape: extents }: TensorType, shape: Shape, i: number) {
  const length = size(extents);
  const piece = valuesFor(dtype, Math.min(length, PIECE), shape, i);
  const total = length * byteSize(dtype);
  for (let at = 0; at < total; at += piece.length) await backend.write(buffer, at, piece.subarray(0, total - at));
}

function valuesFor(dtype: DType, length: number, { limit = 2, positive }: Shape, i: number): Uint8Array {
  if (dtype === "i32") return new Uint8Array(Int32Array.from({ length }, (_, at) => (at * 7919) % limit).buffer);
  if (length <= 3) return new Uint8Array(new Float32Array(length).fill(0.5).buffer); // factors and step sizes
  const bytes = repeated(dtype, length, 1, i + 1);
  if (positive?.includes(i)) for (let at = 3; at < bytes.length; at += 4) bytes[at]! &= 0x7f; // an f32's sign
  return bytes;
}
