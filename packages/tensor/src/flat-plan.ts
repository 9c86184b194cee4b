import { BackendError, type Bindings, type Buffer, type Kernel } from "./backend.js";
import type { DType } from "./dtype.js";
import { definitionOf, type OpName } from "./ops/index.js";
import type { Plan } from "./plan.js";
import { formatType, type Shape } from "./shape.js";

/** A range of `FlatPlan.buffers[buffer]`, `offset` in bytes. */
export interface FlatOperand {
  readonly buffer: number;
  readonly offset: number;
  readonly dtype: DType;
  readonly shape: Shape;
}

export interface FlatStep {
  readonly op: OpName;
  readonly attrs: Kernel["attrs"];
  readonly inputs: readonly FlatOperand[];
  readonly outputs: readonly FlatOperand[];
}

/** A plan put together with its memory, as native code reads it: every operand a range of one of `buffers`. */
export interface FlatPlan {
  readonly steps: readonly FlatStep[];
  readonly buffers: readonly Buffer[];
}

/**
 * Puts a plan and its memory together. Throws a BackendError in the name of `backend` for a step whose operands do not fit its op:
 * kernels trust the shape rules of their ops, so a plan that breaks them must not get that far.
 */
export function flattenPlan(plan: Plan, bindings: Bindings, backend: string): FlatPlan {
  const indices = new Map<Buffer, number>();
  const indexOf = (buffer: Buffer): number => {
    const index = indices.get(buffer) ?? indices.size;
    indices.set(buffer, index);
    return index;
  };
  const operand = ({ shape, dtype, place }: Plan["steps"][number]["inputs"][number]): FlatOperand => {
    if (place.in !== "persistent") {
      const buffer = place.in === "arena" ? bindings.arena : bindings.inputs;
      return { buffer: indexOf(buffer), offset: place.offset, dtype, shape };
    }
    const region = bindings.persistent[place.index];
    if (region === undefined) {
      throw new BackendError(`${backend}: persistent tensor ${place.index} of the plan is not bound`);
    }
    return { buffer: indexOf(region.buffer), offset: region.offset, dtype, shape };
  };
  const steps = plan.steps.map((step, i): FlatStep => {
    const wrong = misfit(step);
    if (wrong !== undefined) throw new BackendError(`${backend}: step ${i}, ${step.op}: ${wrong.message}`, wrong);
    const { op, attrs, inputs, outputs } = step;
    return { op, attrs, inputs: inputs.map(operand), outputs: outputs.map(operand) };
  });
  return { steps, buffers: [...indices.keys()] };
}

/** How the types of a kernel's operands break the rules of its op. */
function misfit({ op, attrs, inputs, outputs }: Kernel): { message: string; cause?: unknown } | undefined {
  let wanted: string;
  try {
    wanted = definitionOf(op).infer(inputs, attrs).map(formatType).join(", ");
  } catch (cause) {
    return { message: (cause as Error).message, cause };
  }
  const got = outputs.map(formatType).join(", ");
  return got === wanted ? undefined : { message: `yields ${wanted}, but the plan says ${got}` };
}
