import {
  type Backend,
  byteLength,
  type Bindings,
  decode,
  definitionOf,
  encode,
  type Kernel,
  type Operand,
  type Plan,
  type TensorType,
} from "@slayer/tensor";
import { type CaseValues, evaluate, inferOutputs, type KernelCase, makeInputs } from "./cases.js";
import { GuardedMemory, type Range } from "./guarded-memory.js";

export interface Compared {
  readonly status: "passed" | "failed";
  readonly case: KernelCase;
  /** max |kernel − f64 reference| / max |f64 reference| over the outputs and over what the op changes in place. */
  readonly maxRelativeError: number;
  /** What is wrong, in words; empty if passed. */
  readonly problems: readonly string[];
}

export interface Unsupported {
  readonly status: "unsupported";
  readonly case: KernelCase;
  /** The backend's own words. */
  readonly reason: string;
}

export type CaseResult = Compared | Unsupported;

/**
 * Runs one case on a backend, twice over the same memory, and compares with the f64 reference on the same inputs.
 * Operands lie between NaNs: what is read beyond an operand shows in the result, what is written there is found, and so is a
 * change to an operand that the op only reads. Never throws for what the backend does wrong.
 */
export async function runCase(backend: Backend, kernelCase: KernelCase): Promise<CaseResult> {
  const { op, attrs, inputs } = kernelCase;
  const kernel: Kernel = { op, attrs, inputs, outputs: inferOutputs(op, attrs, inputs) };
  const answer = backend.supports(kernel);
  if (answer !== true) return { status: "unsupported", case: kernelCase, reason: answer };

  const values = makeInputs(kernelCase);
  const checked = expectedValues(kernelCase, values);
  const setup = place(kernel, values);
  try {
    for (const memory of setup.memories) memory.allocate(backend);
    const executable = await backend.prepare(setup.plan, setup.bindings());
    let maxRelativeError = 0;
    const problems: string[] = [];
    for (const time of ["first run", "second run"]) {
      for (const memory of setup.memories) await memory.reset(backend);
      await backend.run(executable);
      for (const { name, expected } of checked) {
        const { memory, range, type } = setup.where.get(name)!;
        const bytes = await memory.read(backend, range);
        const error = relativeError(decode(bytes, type.dtype, expected.length), expected);
        maxRelativeError = Math.max(maxRelativeError, error);
        if (error > kernelCase.tolerance.value) {
          problems.push(`${time}: ${name} is off by ${error.toExponential(2)}, allowed ${kernelCase.tolerance.value}`);
        }
      }
      for (const memory of setup.memories) {
        problems.push(...(await memory.damage(backend)).map((problem) => `${time}: ${problem}`));
      }
    }
    return { status: problems.length === 0 ? "passed" : "failed", case: kernelCase, maxRelativeError, problems };
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    const problems = [`it is said to be supported, but cannot be run: ${message}`];
    return { status: "failed", case: kernelCase, maxRelativeError: Infinity, problems };
  } finally {
    for (const memory of setup.memories) memory.free(backend);
  }
}

/** By name as in `place`: the outputs, and the operands that the op changes. */
function expectedValues({ op, attrs, inputs }: KernelCase, values: readonly CaseValues[]) {
  const operands = inputs.map(({ shape }, i) => ({ data: values[i]!, shape }));
  const after = evaluate(op, attrs, operands);
  return [
    ...after.outputs.map(({ data }, i) => ({ name: `output ${i}`, expected: data })),
    ...(definitionOf(op).mutates ?? []).flatMap((i) => {
      const changed = after.inputs[i];
      return changed ? [{ name: `operand ${i}`, expected: changed.data }] : [];
    }),
  ];
}

interface Setup {
  readonly plan: Plan;
  readonly memories: readonly GuardedMemory[];
  readonly where: ReadonlyMap<string, { memory: GuardedMemory; range: Range; type: TensorType }>;
  bindings(): Bindings;
}

/**
 * A plan of one step. Operands lie where a model's would: integers among the inputs, what is changed in persistent memory,
 * and the others by turns in the arena, as activations do, and in persistent memory, as weights do.
 */
function place(kernel: Kernel, values: readonly CaseValues[]): Setup {
  const { op, attrs } = kernel;
  const definition = definitionOf(op);
  const [arena, inputs, persistent] = [new GuardedMemory(), new GuardedMemory(), new GuardedMemory()];
  const where = new Map<string, { memory: GuardedMemory; range: Range; type: TensorType }>();
  const reserve = (memory: GuardedMemory, name: string, type: TensorType, writable: boolean, data?: CaseValues) => {
    const range = memory.add(name, byteLength(type), writable, data && encode(data, type.dtype));
    where.set(name, { memory, range, type });
    return range;
  };
  const kept: { name: string; role: "parameter" | "state"; type: TensorType; range: Range }[] = [];

  const inputOperands = kernel.inputs.map((type, i): Operand => {
    const { shape, dtype } = type;
    const name = `operand ${i}`;
    const changed = definition.mutates?.includes(i) ?? false;
    if (changed || (dtype !== "i32" && i % 2 === 1)) {
      const range = reserve(persistent, name, type, changed, values[i]);
      const index = kept.push({ name, role: changed ? "state" : "parameter", type, range }) - 1;
      return { shape, dtype, place: { in: "persistent", index } };
    }
    const { offset } = reserve(dtype === "i32" ? inputs : arena, name, type, false, values[i]);
    return { shape, dtype, place: { in: dtype === "i32" ? "inputs" : "arena", offset } };
  });
  const outputOperands = kernel.outputs.map(({ shape, dtype }, i): Operand => {
    const { offset } = reserve(arena, `output ${i}`, { shape, dtype }, true);
    return { shape, dtype, place: { in: "arena", offset } };
  });

  const plan: Plan = {
    steps: [
      {
        op,
        attrs,
        inputs: inputOperands,
        outputs: outputOperands,
        scope: null,
        recomputed: false,
        cost: definition.cost(kernel.inputs, kernel.outputs, attrs),
        frees: [],
      },
    ],
    persistent: kept.map(({ name, role, type: { shape, dtype } }) => ({ name, role, shape, dtype })),
    inputs: Object.fromEntries(
      inputOperands.flatMap((o, i) => (o.place.in === "inputs" ? [[`operand ${i}`, o] as const] : [])),
    ),
    outputs: Object.fromEntries(outputOperands.map((o, i) => [`output ${i}`, o])),
    arenaBytes: arena.bytes,
    inputBytes: inputs.bytes,
  };
  return {
    plan,
    memories: [arena, inputs, persistent],
    where,
    bindings: () => ({
      arena: arena.buffer,
      inputs: inputs.buffer,
      persistent: kept.map(({ range }) => ({ buffer: persistent.buffer, offset: range.offset })),
    }),
  };
}

/** max |a − b| / max |b|; max |a| where b is all zeros; infinite where a is not a number. */
function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let worst = 0;
  let scale = 0;
  for (let i = 0; i < b.length; i++) {
    if (Number.isNaN(a[i]!)) return Infinity;
    worst = Math.max(worst, Math.abs(a[i]! - b[i]!));
    scale = Math.max(scale, Math.abs(b[i]!));
  }
  return scale === 0 ? worst : worst / scale;
}
