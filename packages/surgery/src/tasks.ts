import type { Checkpoint, StoredDtype } from "@slayer/checkpoint";
import { blockName, blockOf, byteSize, expectedTensors } from "@slayer/checkpoint";
import { checkPlan } from "./check-plan.js";
import { PlanError } from "./errors.js";
import type { BlockPlan, SurgeryPlan } from "./plan.js";

/** One tensor of the new checkpoint and how it is made. */
export interface TensorTask {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** Tensors of the base and their weights. Empty when zeroed. One of weight 1 is a copy of bytes. */
  readonly sources: readonly { readonly tensor: string; readonly weight: number }[];
  readonly zeroed: boolean;
}

export function isCopy(task: TensorTask): boolean {
  return task.sources.length === 1 && task.sources[0]?.weight === 1;
}

/**
 * The plan spelled out per tensor, in the order in which they are written: embedding, blocks, final norm, lm_head.
 * A tied lm_head is not among them, and neither are rotary buffers of old conversions.
 *
 * Throws `PlanError` when the plan is for another model or would average what has no common float dtype.
 */
export function tensorTasks(base: Checkpoint, plan: SurgeryPlan): TensorTask[] {
  checkPlan(plan, base.config);
  const tasks: TensorTask[] = [];
  for (const [name, shape] of expectedTensors({ ...base.config, blocks: plan.blocks.length })) {
    const place = blockOf(name);
    const block = place === null ? undefined : plan.blocks[place.block];
    const sources =
      place === null || block === undefined
        ? [{ tensor: name, weight: 1 }]
        : block.sources.map((source) => ({ tensor: blockName(source.block, place.suffix), weight: source.weight }));
    const zeroed = place !== null && isZeroed(block, place.suffix);
    const dtype = commonDtype(base, name, sources);
    const bytes = shape.reduce((product, size) => product * size, byteSize(dtype));
    tasks.push({ name, dtype, shape, bytes, sources: zeroed ? [] : sources, zeroed });
  }
  return tasks;
}

function isZeroed(block: BlockPlan | undefined, suffix: string): boolean {
  return block?.zeroed.includes(suffix) ?? false;
}

function commonDtype(base: Checkpoint, name: string, sources: TensorTask["sources"]): StoredDtype {
  const dtypes = sources.map((source) => base.info(source.tensor).dtype);
  const [dtype] = dtypes;
  if (dtype === undefined) throw new PlanError(`${name}: a block needs at least one source`);
  const plainCopy = sources.length === 1 && sources[0]?.weight === 1;
  const averageable = dtype === "F32" || dtype === "F16" || dtype === "BF16";
  if (!plainCopy && (!averageable || dtypes.some((other) => other !== dtype))) {
    const got = sources.map((source, index) => `${source.tensor} is ${dtypes[index]}`).join(", ");
    throw new PlanError(`${name}: averaging needs sources of one dtype among F32, F16 and BF16; ${got}`);
  }
  return dtype;
}
