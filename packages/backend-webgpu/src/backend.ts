import { type Backend, DeviceLostError } from "@slayer/tensor";
import { openDevice, type WebgpuOptions } from "./device.js";
import { failure } from "./errors.js";
import { type Batch, own, prepareExecutable, type WebgpuExecutable } from "./executable.js";
import { lower } from "./lower/index.js";
import { type DeviceTraits, LoweringError } from "./lowering.js";
import { readBuffer, WebgpuBuffer, writeBuffer } from "./memory.js";
import { Pipelines } from "./pipelines.js";
import { type KernelTime, Profile } from "./profile.js";
import { submit } from "./submit.js";
import { Tuner } from "./tuner.js";
import { workDone } from "./wait.js";

/** A Backend that can say where its time goes. */
export interface WebgpuBackend extends Backend {
  /** With the option `profile`, time by kernel over all runs so far, longest first; else empty. */
  kernelTimes(): KernelTime[];
}

/**
 * A backend on a WebGPU device: f32 arithmetic in WGSL. A run is encoded in one pass per batch of steps and has ended on the device
 * when its promise resolves; an abort takes effect between batches.
 *
 * Rejects with an AdapterMissingError where there is no adapter.
 */
export async function createWebgpuBackend(options: WebgpuOptions = {}): Promise<WebgpuBackend> {
  const { device, traits: untuned, description } = await openDevice(options);
  const pipelines = new Pipelines(device);
  const profile = options.profile ? new Profile(device) : undefined;
  const tuning = options.products === undefined ? options.tuning : undefined;
  const tuner =
    tuning && (await Tuner.open(device, pipelines, tuning, `${description}${untuned.half ? ", half" : ""}`));
  const traits: DeviceTraits = { ...untuned, variant: (shape) => tuner?.choose(shape) ?? untuned.variant(shape) };
  const buffers = new Set<WebgpuBuffer>();
  let closed = false;
  let lost: string | undefined;
  let fault: string | undefined;
  let running: { batch: Batch; ops: string } | undefined;
  const watch = async () => {
    const { reason, message } = await device.lost;
    const during = running
      ? ` during steps ${running.batch.firstStep} to ${running.batch.lastStep} of a plan (${running.ops})`
      : "";
    if (!closed) lost = `the device was lost${during}: ${message || reason}`;
  };
  void watch();
  device.addEventListener("uncapturederror", (event) => {
    fault ??= event.error.message;
  });

  const checkOpen = () => {
    if (lost !== undefined)
      throw new DeviceLostError(`webgpu: ${lost}; what was saved before is whole, go on from there`);
    if (closed) throw failure("the backend is closed");
  };

  return {
    name: "webgpu",
    capabilities: {
      device: description,
      dtypes: ["f32", "bf16", "i32"],
      activations: ["f32", "bf16"],
      maxBufferBytes: device.limits.maxBufferSize,
      fused: ["lm_head_loss_with_gradient"],
    },
    supports(kernel) {
      try {
        lower(kernel, traits);
        return true;
      } catch (error) {
        if (error instanceof LoweringError) return error.message;
        throw error;
      }
    },
    async compile(kernel) {
      checkOpen();
      const { dispatches } = lower(kernel, traits);
      await Promise.all(dispatches.map((dispatch) => pipelines.get(dispatch, dispatch.ranges.length)));
    },

    allocate(bytes) {
      checkOpen();
      const most = device.limits.maxBufferSize;
      if (bytes > most) throw failure(`one buffer of ${bytes} bytes is beyond the adapter's limit of ${most}`);
      const buffer = new WebgpuBuffer(device, bytes);
      buffers.add(buffer);
      return buffer;
    },
    free(buffer) {
      own(buffer).destroy();
      buffers.delete(own(buffer));
    },
    async write(buffer, offset, data) {
      checkOpen();
      await writeBuffer(device, own(buffer), offset, data);
    },
    async read(buffer, offset, bytes) {
      checkOpen();
      return readBuffer(device, own(buffer), offset, bytes);
    },

    async prepare(plan, bindings) {
      checkOpen();
      await tuner?.learn(plan, untuned);
      return prepareExecutable(device, traits, pipelines, plan, bindings);
    },
    async run(executable, signal) {
      const { plan, batches } = executable as WebgpuExecutable;
      for (const batch of batches) {
        checkOpen();
        signal?.throwIfAborted();
        running = { batch, ops: opsOf(plan.steps.slice(batch.firstStep, batch.lastStep + 1)) };
        await execute(device, traits.software, batch, profile);
        if (fault !== undefined) {
          const message = fault;
          fault = undefined;
          throw failure(`steps ${batch.firstStep} to ${batch.lastStep} (${running.ops}): ${message}`);
        }
        running = undefined;
      }
      checkOpen();
    },
    kernelTimes: () => profile?.times() ?? [],
    async close() {
      if (closed) return;
      closed = true;
      for (const buffer of buffers) buffer.destroy();
      buffers.clear();
      profile?.destroy();
      device.destroy();
      await device.lost;
    },
  };
}

/** The ops of some steps, each named once. */
function opsOf(steps: readonly { op: string }[]): string {
  return [...new Set(steps.map(({ op }) => op))].join(", ");
}

/** Submits a batch and waits for it. A device that is lost meanwhile is reported by the next check. */
async function execute(
  device: GPUDevice,
  software: boolean,
  { commands }: Batch,
  profile: Profile | undefined,
): Promise<void> {
  const most = profile ? Profile.most : commands.length;
  for (let i = 0; i < commands.length; i += most) {
    submit(device, commands.slice(i, i + most), profile);
    await workDone(device.queue.onSubmittedWorkDone(), software).catch(() => {});
    await profile?.collect().catch(() => {});
  }
}
