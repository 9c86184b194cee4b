import { existsSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Where it was built, or where a build with sanitizers is (tools/sanitize.sh). */
const build = process.env.SLAYER_CUDA_BUILD ?? fileURLToPath(new URL("../../build/Release", import.meta.url));

/** Its file; cuBLASLt's entry points are in it too. */
export const driver: string = join(build, "libcuda_host.so");

/** Why the kernels cannot be run on the host here, or undefined if they can. */
export const missing: string | undefined = existsSync(driver)
  ? undefined
  : "the host's driver was not built: it needs Linux, cmake and g++ or clang++";

/** For the titles of tests that are skipped without it. */
export const note: string = missing === undefined ? "" : ` (not checked here: ${missing})`;

/** The environment in which the CUDA backend finds a driver that runs its kernels on the host. */
export function hostEnvironment(): Record<string, string> {
  // That driver has its kernels with it; the loader still wants to see a file of kernels.
  const kernels = mkdtempSync(join(tmpdir(), "slayer-kernels-"));
  writeFileSync(join(kernels, "host.fatbin"), "the host's driver brings its own");
  return { SLAYER_CUDA_DRIVER: driver, SLAYER_CUDA_KERNELS: kernels };
}
