import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createCudaBackend } from "@slayer/backend-cuda";
import type { Backend } from "@slayer/tensor";

const path = fileURLToPath(new URL("../../build/Release/slayer_cuda_host.node", import.meta.url));

/** Why the kernels cannot be run on the host here, or undefined if they can. */
export const missing: string | undefined = existsSync(path)
  ? undefined
  : "the host executor was not built: it needs cmake and g++ or clang++";

/** For the titles of tests that are skipped without it. */
export const note: string = missing === undefined ? "" : ` (not checked here: ${missing})`;

/** The CUDA backend with its kernels on the host's executor. */
export async function createHostBackend(): Promise<Backend> {
  const before = process.env.SLAYER_CUDA_ADDON;
  process.env.SLAYER_CUDA_ADDON = path;
  try {
    return await createCudaBackend();
  } finally {
    if (before === undefined) delete process.env.SLAYER_CUDA_ADDON;
    else process.env.SLAYER_CUDA_ADDON = before;
  }
}
