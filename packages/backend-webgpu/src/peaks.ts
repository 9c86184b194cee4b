import copyKernel from "../../../kernels/webgpu/copy.wgsl";
import fmaKernel from "../../../kernels/webgpu/peak_fma.wgsl";
import { openDevice, type WebgpuOptions } from "./device.js";
import type { DeviceTraits, Dispatch } from "./lowering.js";
import { WebgpuBuffer } from "./memory.js";
import { Pipelines } from "./pipelines.js";
import { encodeParams } from "./specialise.js";
import { workDone } from "./wait.js";

export interface WebgpuPeaks {
  /** f32 operations per second, a multiply-add counted as two; one number per sample. */
  readonly flops: readonly number[];
  /** Bytes per second of a copy, read and written ones both counted; one number per sample. */
  readonly bandwidth: readonly number[];
}

const SAMPLES = 7;
const COPY_BYTES = 2 ** 27;
const UNIFORM_COPY_DST = 0x40 | 0x8;
/** Per thread and round: eight vectors of four multiply-adds. */
const FLOPS_PER_ROUND = 2 * 4 * 8;

/** What the device reaches at most, by measurement: the roof its kernels are measured against. Rejects as createWebgpuBackend. */
export async function measureWebgpuPeaks(options: WebgpuOptions = {}): Promise<WebgpuPeaks> {
  const { device, traits } = await openDevice(options);
  try {
    return await measure(device, traits);
  } finally {
    device.destroy();
  }
}

async function measure(device: GPUDevice, traits: DeviceTraits): Promise<WebgpuPeaks> {
  const WORKGROUP = traits.software ? 1024 : 256;
  const groups = traits.software ? 16 : 8192;
  const rounds = traits.software ? 2048 : 16_384;
  const threads = groups * WORKGROUP;
  const words = Math.min(COPY_BYTES, traits.bindingBytes) / 4;
  const copyGroups = words / 4 / WORKGROUP;
  const height = Math.ceil(copyGroups / traits.workgroupsPerDimension);
  const [from, to] = [new WebgpuBuffer(device, 4 * words), new WebgpuBuffer(device, 4 * words)];
  const chains = { kernel: fmaKernel, flags: [], constants: { WORKGROUP }, params: { rounds, factor: 0.999 } };
  const copy = { kernel: copyKernel, flags: ["VEC4"], constants: { WORKGROUP }, params: { count: words / 4 } };
  const ofChains = await timed(device, traits.software, { ...chains, groups: [groups, 1, 1] }, [to]);
  const ofCopy = await timed(
    device,
    traits.software,
    { ...copy, groups: [Math.ceil(copyGroups / height), height, 1] },
    [from, to],
  );
  return {
    flops: ofChains.map((seconds) => (FLOPS_PER_ROUND * rounds * threads) / seconds),
    bandwidth: ofCopy.map((seconds) => (2 * 4 * words) / seconds),
  };
}

/** Seconds of each of some dispatches, the first of which does not count. */
async function timed(
  device: GPUDevice,
  software: boolean,
  dispatch: Omit<Dispatch, "ranges">,
  buffers: readonly WebgpuBuffer[],
): Promise<number[]> {
  const pipelines = new Pipelines(device);
  const pipeline = await pipelines.get(dispatch, buffers.length);
  const data = new ArrayBuffer(256);
  encodeParams(dispatch.kernel, dispatch.params, new DataView(data));
  const uniforms = device.createBuffer({ size: 256, usage: UNIFORM_COPY_DST });
  device.queue.writeBuffer(uniforms, 0, data);
  const group = device.createBindGroup({
    layout: pipelines.layout(buffers.length),
    entries: [uniforms, ...buffers.map(({ gpu }) => gpu)].map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  const seconds: number[] = [];
  for (let i = 0; i <= SAMPLES; i++) {
    const start = performance.now();
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(dispatch.groups[0], dispatch.groups[1], dispatch.groups[2]);
    pass.end();
    device.queue.submit([encoder.finish()]);
    await workDone(device.queue.onSubmittedWorkDone(), software);
    if (i > 0) seconds.push((performance.now() - start) / 1000);
  }
  return seconds;
}
