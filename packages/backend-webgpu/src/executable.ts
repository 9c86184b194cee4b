import {
  ALIGNMENT,
  type Bindings,
  type Buffer,
  definitionOf,
  type Executable,
  formatType,
  type Operand,
  type Plan,
  type Step,
} from "@slayer/tensor";
import { failure } from "./errors.js";
import { copyDispatches } from "./lower/elementwise.js";
import { type LoweredKernel, lower } from "./lower/index.js";
import { type DeviceTraits, type Dispatch, LoweringError, type Range } from "./lowering.js";
import { checkAllocated, WebgpuBuffer } from "./memory.js";
import type { Pipelines } from "./pipelines.js";
import { encodeParams } from "./specialise.js";

const UNIFORM_COPY_DST = 0x40 | 0x8;
const UNIFORM_STRIDE = 256;

/** A dispatch with everything made that it needs. */
export interface Command {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly groups: readonly [number, number, number];
  readonly kernel: string;
  /** Of the plan. */
  readonly step: number;
}

/** Steps that are submitted together. */
export interface Batch {
  readonly commands: readonly Command[];
  readonly firstStep: number;
  readonly lastStep: number;
}

export interface WebgpuExecutable extends Executable {
  readonly batches: readonly Batch[];
}

interface Place {
  /** Undefined: the scratch buffer, while its size is not known. */
  readonly buffer: WebgpuBuffer | undefined;
  readonly offset: number;
  readonly bytes: number;
}

/** Floating-point work of one submission: long enough to hide its cost, short enough to be interrupted and watched over. */
const BATCH_FLOPS = { hardware: 2e11, software: 5e8 };

/** Lowers a plan and binds it to its memory. Rejects with a BackendError that names the step. */
export async function prepareExecutable(
  device: GPUDevice,
  traits: DeviceTraits,
  pipelines: Pipelines,
  plan: Plan,
  bindings: Bindings,
): Promise<WebgpuExecutable> {
  await checkMemory(plan, bindings);
  const lowered = plan.steps.map((step, i) => lowerStep(step, i, traits));
  const separate = lowered.map((kernel, i) => separateOperands(plan.steps[i]!, i, kernel, bindings, traits));
  const scratch = new WebgpuBuffer(device, Math.max(0, ...separate.map(({ scratchBytes }) => scratchBytes)));
  const all = separate.flatMap(({ dispatches }, step) =>
    dispatches.map((dispatch): BoundDispatch => {
      const places = dispatch.ranges.map((range) => placeOf(range, plan.steps[step]!, bindings, scratch));
      checkPlaces(places, `step ${step}, ${plan.steps[step]!.op}`, traits);
      return { dispatch, places, step };
    }),
  );
  const uniforms = uniformBuffer(
    device,
    all.map(({ dispatch }) => dispatch),
  );
  // They live as long as the plan's own memory.
  const arena = own(bindings.arena);
  for (const buffer of [scratch.gpu, uniforms]) arena.dependents.add(buffer);
  const commands = await Promise.all(
    all.map(async ({ dispatch, places, step }, i): Promise<Command> => {
      const name = `step ${step}, ${plan.steps[step]!.op}`;
      const pipeline = await pipelines.get(dispatch, places.length).catch((cause: Error) => {
        throw failure(`${name}: ${cause.message}`, cause);
      });
      device.pushErrorScope("validation");
      const group = device.createBindGroup({
        label: `${name}, ${dispatch.kernel.name}`,
        layout: pipelines.layout(places.length),
        entries: [
          { binding: 0, resource: { buffer: uniforms, offset: i * UNIFORM_STRIDE, size: UNIFORM_STRIDE } },
          ...places.map(({ buffer, offset, bytes }, j) => ({
            binding: j + 1,
            resource: { buffer: buffer!.gpu, offset, size: bytes },
          })),
        ],
      });
      const error = await device.popErrorScope();
      if (error) throw failure(`${name}, ${dispatch.kernel.name}: ${error.message}`);
      return { pipeline, group, groups: dispatch.groups, kernel: dispatch.kernel.name, step };
    }),
  );
  await checkAllocated(scratch);
  return { plan, batches: batchesOf(plan, commands, traits.software ? BATCH_FLOPS.software : BATCH_FLOPS.hardware) };
}

export function own(buffer: Buffer): WebgpuBuffer {
  if (buffer instanceof WebgpuBuffer) return buffer;
  throw failure("the buffer is another backend's");
}

/** Whether there was memory for everything that the plan is bound to; if not, says what the plan asks for. */
async function checkMemory(plan: Plan, { arena, inputs, persistent }: Bindings): Promise<void> {
  const buffers = new Set([arena, inputs, ...persistent.map(({ buffer }) => buffer)].map(own));
  const problems = await Promise.all([...buffers].map((buffer) => buffer.problem));
  const problem = problems.find((text) => text !== undefined);
  if (problem === undefined) return;
  const total = [...buffers].reduce((sum, { bytes }) => sum + bytes, 0);
  throw failure(
    `no memory for the plan: it needs ${total} bytes, of them ${plan.arenaBytes} for intermediates, ${plan.inputBytes} for ` +
      `inputs and ${total - plan.arenaBytes - plan.inputBytes} for parameters and state; use fewer or shorter sequences, ` +
      `recomputation, or a smaller model (${problem})`,
  );
}

/** Shaders trust the shape rules of their ops, so a plan that breaks them must not get that far. */
function lowerStep(step: Step, i: number, traits: DeviceTraits): LoweredKernel {
  const { op, attrs, inputs, outputs } = step;
  try {
    const wanted = definitionOf(op).infer(inputs, attrs).map(formatType).join(", ");
    const got = outputs.map(formatType).join(", ");
    if (got !== wanted) throw new LoweringError(`yields ${wanted}, but the plan says ${got}`);
    return lower(step, traits);
  } catch (cause) {
    throw failure(`step ${i}, ${op}: ${(cause as Error).message}`, cause);
  }
}

interface BoundDispatch {
  readonly dispatch: Dispatch;
  readonly places: readonly Place[];
  readonly step: number;
}

function placeOf(
  { of, index, offset, bytes }: Range,
  step: Step,
  bindings: Bindings,
  scratch: WebgpuBuffer | undefined,
): Place {
  if (of === "scratch") return { buffer: scratch, offset, bytes };
  const base = regionOf((of === "input" ? step.inputs : step.outputs)[index]!, bindings);
  return { buffer: base.buffer, offset: base.offset + offset, bytes };
}

function checkPlaces(places: readonly Place[], name: string, { alignment }: DeviceTraits): void {
  for (const { buffer, offset, bytes } of places) {
    if (offset % alignment === 0 && offset + bytes <= buffer!.bytes) continue;
    throw failure(
      `${name}: an operand at ${offset}, ${bytes} bytes, of a buffer of ${buffer!.bytes} bytes; offsets are multiples of ${alignment}`,
    );
  }
}

/**
 * The dispatches of a step such that none is given the same memory twice, which WebGPU refuses of writable bindings: an operand
 * that is also another one (x + x, say) is read from a copy.
 */
function separateOperands(
  step: Step,
  index: number,
  { dispatches, scratchBytes }: LoweredKernel,
  bindings: Bindings,
  traits: DeviceTraits,
): LoweredKernel {
  const separate: Dispatch[] = [];
  let end = scratchBytes;
  for (const dispatch of dispatches) {
    const ranges: Range[] = [];
    const places: Place[] = [];
    for (const [i, range] of dispatch.ranges.entries()) {
      const place = placeOf(range, step, bindings, undefined);
      const other = places.findIndex((earlier) => overlap(earlier, place));
      places.push(place);
      if (other < 0) {
        ranges.push(range);
        continue;
      }
      if ([i, other].some((j) => dispatch.kernel.writes.includes(j + 1))) {
        throw failure(`step ${index}, ${step.op}: an operand that is written overlaps another one`);
      }
      const copy: Range = { of: "scratch", index: 0, offset: end, bytes: range.bytes };
      end += Math.ceil(range.bytes / ALIGNMENT) * ALIGNMENT;
      separate.push(...copyDispatches(traits, range, copy));
      ranges.push(copy);
    }
    separate.push({ ...dispatch, ranges });
  }
  return { dispatches: separate, scratchBytes: end };
}

function overlap(a: Place, b: Place): boolean {
  return a.buffer === b.buffer && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
}

function regionOf({ place }: Operand, bindings: Bindings): { buffer: WebgpuBuffer; offset: number } {
  if (place.in !== "persistent") {
    return { buffer: own(place.in === "arena" ? bindings.arena : bindings.inputs), offset: place.offset };
  }
  const region = bindings.persistent[place.index];
  if (region === undefined) throw failure(`persistent tensor ${place.index} of the plan is not bound`);
  return { buffer: own(region.buffer), offset: region.offset };
}

function uniformBuffer(device: GPUDevice, dispatches: readonly Dispatch[]): GPUBuffer {
  const data = new ArrayBuffer(Math.max(1, dispatches.length) * UNIFORM_STRIDE);
  dispatches.forEach(({ kernel, params }, i) => {
    encodeParams(kernel, params, new DataView(data, i * UNIFORM_STRIDE, UNIFORM_STRIDE));
  });
  const buffer = device.createBuffer({ size: data.byteLength, usage: UNIFORM_COPY_DST });
  device.queue.writeBuffer(buffer, 0, data);
  return buffer;
}

function batchesOf(plan: Plan, commands: readonly Command[], most: number): Batch[] {
  const batches: Command[][] = [];
  let flops = Infinity;
  let step = -1;
  for (const command of commands) {
    if (command.step !== step) {
      if (flops >= most) {
        batches.push([]);
        flops = 0;
      }
      step = command.step;
      flops += plan.steps[step]!.cost.flops;
    }
    batches.at(-1)!.push(command);
  }
  return batches.map((list) => ({ commands: list, firstStep: list[0]!.step, lastStep: list.at(-1)!.step }));
}
