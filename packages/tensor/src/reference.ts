import {
  BackendError,
  type Backend,
  type Bindings,
  type Buffer,
  type Executable,
  OutOfMemoryError,
  type Region,
} from "./backend.js";
import { widenBf16, roundToBf16 } from "./bf16.js";
import { viewOf } from "./dtype.js";
import type { View } from "./op.js";
import { definitionOf } from "./ops/index.js";
import type { Operand, Plan } from "./plan.js";
import { byteLength, size } from "./shape.js";

export interface ReferenceOptions {
  /** Fill arena ranges with NaN as soon as nothing should read them any more. For tests of the memory planner. */
  poison?: boolean;
  /** Called with each arena range a step touches. For tests of the memory planner. */
  onTouch?: (offset: number, bytes: number) => void;
}

class HostBuffer implements Buffer {
  readonly memory: ArrayBuffer;
  constructor(bytes: number) {
    this.memory = new ArrayBuffer(bytes);
  }
  get bytes(): number {
    return this.memory.byteLength;
  }
}

interface ReferenceExecutable extends Executable {
  readonly steps: readonly (() => void)[];
}

/** Node and browsers end a single typed array here or later. */
const MAX_BUFFER_BYTES = 2 ** 32;
const YIELD_AFTER_MS = 50;

const host = (buffer: Buffer) => (buffer as HostBuffer).memory;

/**
 * The reference executor: every op in plain loops with f64 accumulation, no dependency, anywhere JavaScript runs. It defines
 * what the other backends must compute; in f64 graphs it is the oracle for gradients. bf16 operands are widened before
 * an op, and what it writes is rounded after it.
 */
export function createReferenceBackend(options: ReferenceOptions = {}): Backend {
  // Of the last pause, which many short runs take together.
  let since = performance.now();
  return {
    name: "reference",
    capabilities: {
      device: "JavaScript",
      dtypes: ["f64", "f32", "bf16", "i32"],
      activations: ["f64", "f32", "bf16"],
      maxBufferBytes: MAX_BUFFER_BYTES,
    },
    supports: () => true,
    compile: async () => {},
    allocate(bytes) {
      if (bytes > MAX_BUFFER_BYTES)
        throw new BackendError(`reference: one buffer of ${bytes} bytes is beyond ${MAX_BUFFER_BYTES}`);
      try {
        return new HostBuffer(bytes);
      } catch (cause) {
        throw new OutOfMemoryError(`reference: no memory for ${bytes} bytes`, { cause });
      }
    },
    free() {}, // the garbage collector does
    async write(buffer, offset, data) {
      const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
      new Uint8Array(host(buffer), offset, bytes.length).set(bytes);
    },
    read: async (buffer, offset, bytes) => new Uint8Array(host(buffer).slice(offset, offset + bytes)),
    prepare: async (plan, bindings) => bind(plan, bindings, options),
    async run(executable, signal) {
      signal?.throwIfAborted();
      for (const step of (executable as ReferenceExecutable).steps) {
        step();
        if (performance.now() - since < YIELD_AFTER_MS) continue;
        // Let timers and signal handlers have their turn: a long plan must stay interruptible.
        await new Promise((resolve) => setTimeout(resolve, 0));
        signal?.throwIfAborted();
        since = performance.now();
      }
    },
    close: async () => {},
  };
}

/** An operand for one step: a view of memory, or for bf16 a wide copy that is made before the step and rounded after. */
interface Slot {
  load(): View;
  store(view: View): void;
}

/** Resolves every operand to its memory once, so that running a step is one call. */
function bind(plan: Plan, bindings: Bindings, { poison, onTouch }: ReferenceOptions): ReferenceExecutable {
  const regionOf = ({ place }: Operand): Region => {
    if (place.in === "persistent") return bindings.persistent[place.index]!;
    return { buffer: place.in === "arena" ? bindings.arena : bindings.inputs, offset: place.offset };
  };
  const slot = (operand: Operand): Slot => {
    const { buffer, offset } = regionOf(operand);
    const { shape, dtype } = operand;
    if (dtype === "bf16") {
      const bits = new Uint16Array(host(buffer), offset, size(shape));
      return {
        load: () => ({ data: widenBf16(bits), shape }),
        store: ({ data }) => bits.set(roundToBf16(data as Float32Array)),
      };
    }
    const view: View = { data: viewOf(host(buffer), offset, dtype, size(shape)), shape };
    return { load: () => view, store() {} };
  };
  const steps = plan.steps.map((step) => {
    const { reference, mutates = [] } = definitionOf(step.op);
    const inputs = step.inputs.map(slot);
    const outputs = step.outputs.map(slot);
    const touched = [...step.inputs, ...step.outputs].filter((o) => o.place.in === "arena");
    const poisoned = poison ? step.frees.map(([at, bytes]) => new Uint8Array(host(bindings.arena), at, bytes)) : [];
    return () => {
      const given = inputs.map((s) => s.load());
      const results = outputs.map((s) => s.load());
      reference(given, results, step.attrs);
      for (const i of mutates) inputs[i]?.store(given[i]!);
      outputs.forEach((s, i) => s.store(results[i]!));
      for (const range of poisoned) range.fill(0xff); // NaN in every float type
      if (onTouch) for (const o of touched) onTouch((o.place as { offset: number }).offset, byteLength(o));
    };
  });
  return { plan, steps };
}
