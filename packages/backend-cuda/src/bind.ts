import {
  BackendError,
  type Bindings,
  type Buffer,
  definitionOf,
  formatType,
  type Kernel,
  type Plan,
} from "@slayer/tensor";
import type { NativeOperand, NativeStep } from "./native.js";

/** A plan as the addon reads it: every operand a range of one of `buffers`. */
export interface FlatPlan {
  readonly steps: NativeStep[];
  readonly buffers: Buffer[];
}

/** Puts a plan and its memory together. Throws a BackendError for a step whose operands do not fit its op. */
export function flatten(plan: Plan, bindings: Bindings): FlatPlan {
  const indices = new Map<Buffer, number>();
  const indexOf = (buffer: Buffer): number => {
    const index = indices.get(buffer) ?? indices.size;
    indices.set(buffer, index);
    return index;
  };
  const operand = ({ shape, dtype, place }: Plan["steps"][number]["inputs"][number]): NativeOperand => {
    if (place.in !== "persistent") {
      const buffer = place.in === "arena" ? bindings.arena : bindings.inputs;
      return { buffer: indexOf(buffer), offset: place.offset, dtype, shape };
    }
    const region = bindings.persistent[place.index];
    if (region === undefined) throw new BackendError(`cuda: persistent tensor ${place.index} of the plan is not bound`);
    return { buffer: indexOf(region.buffer), offset: region.offset, dtype, shape };
  };
  const steps = plan.steps.map((step, i): NativeStep => {
    checkTypes(step, i);
    const { op, attrs, inputs, outputs } = step;
    return { op, attrs, inputs: inputs.map(operand), outputs: outputs.map(operand) };
  });
  return { steps, buffers: [...indices.keys()] };
}

/** Kernels trust the shape rules of their ops, so a plan that breaks them must not get that far. */
function checkTypes({ op, attrs, inputs, outputs }: Kernel, i: number): void {
  let wanted: string;
  try {
    wanted = definitionOf(op).infer(inputs, attrs).map(formatType).join(", ");
  } catch (cause) {
    throw new BackendError(`cuda: step ${i}, ${op}: ${(cause as Error).message}`, { cause });
  }
  const got = outputs.map(formatType).join(", ");
  if (got !== wanted) throw new BackendError(`cuda: step ${i}, ${op}: yields ${wanted}, but the plan says ${got}`);
}
