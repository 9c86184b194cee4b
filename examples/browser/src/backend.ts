import { AdapterMissingError, createWebgpuBackend } from "@slayer/backend-webgpu";
import { type Backend, createReferenceBackend } from "@slayer/tensor";

/** The browser's GPU, or where it has none the reference backend, and in words which it is. */
export async function openBackend(): Promise<{ backend: Backend; words: string }> {
  try {
    const backend = await createWebgpuBackend();
    return { backend, words: `WebGPU: ${backend.capabilities.device}` };
  } catch (error) {
    if (!(error instanceof AdapterMissingError)) throw error;
    const words =
      "No WebGPU adapter: computing in plain JavaScript, which is slow and blocks the page. Small models only.";
    return { backend: createReferenceBackend(), words };
  }
}
