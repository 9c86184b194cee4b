import {
  BackendError,
  type Backend,
  type Bindings,
  type Buffer,
  type Executable,
  type Kernel,
  OutOfMemoryError,
  type Region,
} from "./backend.js";
import { decode, encode, isOf, type TypedArray } from "./dtype.js";
import type { Graph, Tensor } from "./graph.js";
import { makePlan, type Operand, type Plan, planMemoryOf, type Step } from "./plan.js";
import { byteLength, formatType, size } from "./shape.js";
import { Store } from "./store.js";

/** A plan with its memory on a backend: write the inputs, run, read the outputs, as often as you like. */
export class Program {
  readonly plan: Plan;
  readonly #backend: Backend;
  readonly #arena: Buffer;
  readonly #inputs: Buffer;
  readonly #persistent: readonly Region[];
  readonly #executable: Executable;

  private constructor(backend: Backend, executable: Executable, { arena, inputs, persistent }: Bindings) {
    this.plan = executable.plan;
    this.#backend = backend;
    this.#executable = executable;
    this.#arena = arena;
    this.#inputs = inputs;
    this.#persistent = persistent;
  }

  /**
   * Plans the graph, checks that the backend has every kernel, allocates, and binds parameters and state by name, each to
   * the first store that has it. Throws an OutOfMemoryError with what the plan needs, by component; it holds nothing then.
   */
  static async compile(
    graph: Graph,
    outputs: Readonly<Record<string, Tensor>>,
    stores: Store | readonly Store[],
  ): Promise<Program> {
    const all = stores instanceof Store ? [stores] : stores;
    const { backend } = all[0]!;
    const { fused } = backend.capabilities;
    const canFuse = (kernel: Kernel) => fused?.includes(kernel.op) === true && backend.supports(kernel) === true;
    const plan = makePlan(graph, outputs, canFuse);
    for (const step of plan.steps) {
      const answer = backend.supports(step);
      if (answer !== true) throw new BackendError(`backend ${backend.name} cannot run ${step.op}: ${answer}`);
    }
    const persistent = plan.persistent.map((t) => (all.find((s) => s.has(t.name)) ?? all[0]!).region(t.name, t));
    const held: Buffer[] = [];
    const allocate = (bytes: number) => {
      held.push(backend.allocate(bytes));
      return held.at(-1)!;
    };
    try {
      const bindings = { arena: allocate(plan.arenaBytes), inputs: allocate(plan.inputBytes), persistent };
      return new Program(backend, await backend.prepare(plan, bindings), bindings);
    } catch (error) {
      for (const buffer of held) backend.free(buffer);
      if (!(error instanceof OutOfMemoryError)) throw error;
      throw new OutOfMemoryError(`${error.message}; ${describeMemory(plan, backend.workspaceBytes?.(plan))}`, {
        cause: error,
      });
    }
  }

  /** These steps of the plan alone, over the same memory, to measure them. It has nothing of its own that wants freeing. */
  async part(steps: readonly Step[]): Promise<Program> {
    const bindings = { arena: this.#arena, inputs: this.#inputs, persistent: this.#persistent };
    return new Program(this.#backend, await this.#backend.prepare({ ...this.plan, steps }, bindings), bindings);
  }

  /** Writes the given inputs (the others keep their values) and runs the plan once. */
  async run(inputs: Readonly<Record<string, TypedArray>> = {}, signal?: AbortSignal): Promise<void> {
    for (const [name, values] of Object.entries(inputs)) {
      const operand = this.plan.inputs[name];
      if (!operand)
        throw new Error(`the plan has no input '${name}'; it has ${Object.keys(this.plan.inputs).join(", ")}`);
      const fits = values.length === size(operand.shape) && isOf(values, operand.dtype);
      if (!fits)
        throw new Error(`input '${name}' is ${formatType(operand)}, got ${values.constructor.name}(${values.length})`);
      await this.#backend.write(this.#inputs, offsetOf(operand), encode(values, operand.dtype));
    }
    await this.#backend.run(this.#executable, signal);
  }

  /** Values of an output after the last run; those of bf16 as f32. */
  async read(name: string): Promise<TypedArray> {
    const operand = this.plan.outputs[name];
    if (!operand)
      throw new Error(`the plan has no output '${name}'; it has ${Object.keys(this.plan.outputs).join(", ")}`);
    const bytes = await this.#backend.read(this.#arena, offsetOf(operand), byteLength(operand));
    return decode(bytes, operand.dtype, size(operand.shape));
  }

  /** Frees the arenas; the program cannot run afterwards. */
  free(): void {
    this.#backend.free(this.#arena);
    this.#backend.free(this.#inputs);
  }
}

function offsetOf({ place }: Operand): number {
  if (place.in === "persistent") throw new Error("a persistent operand has no offset of its own");
  return place.offset;
}

function describeMemory(plan: Plan, workspace?: number): string {
  const { fullestStep, ...tensors } = planMemoryOf(plan);
  const parts = { ...tensors, ...(workspace !== undefined && { workspace }) };
  const list = Object.entries(parts).map(([name, bytes]) => `${name} ${mebibytes(bytes)}`);
  const fullest = plan.steps[fullestStep];
  const most = fullest && `; most intermediates are alive at step ${fullestStep}, ${fullest.op}`;
  return `the plan needs ${list.join(", ")}${most ?? ""}`;
}

const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
