import { AdapterMissingError, createWebgpuBackend } from "@slayer/backend-webgpu";

/** Why WebGPU cannot be tested on this machine, if so. */
export const missing = await probe();

/** What titles of skipped tests say. */
export const note = missing === undefined ? "" : `, not checked here: ${missing}`;

async function probe(): Promise<string | undefined> {
  try {
    await (await createWebgpuBackend()).close();
    return undefined;
  } catch (error) {
    if (error instanceof AdapterMissingError) return error.message;
    throw error;
  }
}

/** An adapter of this machine's, and the device that was made of it: to take it away. */
export async function openAdapter(): Promise<{ adapter: GPUAdapter; device: () => GPUDevice }> {
  const { create } = await import("webgpu");
  const gpu = create([]);
  kept.push(gpu);
  const adapter = (await gpu.requestAdapter())!;
  const request = adapter.requestDevice.bind(adapter);
  let device: GPUDevice | undefined;
  adapter.requestDevice = async (descriptor) => {
    device = await request(descriptor);
    return device;
  };
  return { adapter, device: () => device! };
}

/** What this machine's adapter can do beyond the least. */
export async function adapterFeatures(): Promise<ReadonlySet<string>> {
  return (await openAdapter()).adapter.features;
}

/** dawn.node must not lose them while a device lives. */
const kept: unknown[] = [];
