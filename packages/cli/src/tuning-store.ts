import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import type { TuningStore } from "@slayer/tensor";

/**
 * What a backend measured, in the user's cache (XDG Base Directory: XDG_CACHE_HOME, else ~/.cache), a file per device, driver and version
 * of the kernels. Where nothing can be written it is measured again each time.
 */
export function diskTuning(backend: "cuda" | "webgpu", env: NodeJS.ProcessEnv): TuningStore {
  const dir = join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "slayer", backend);
  const fileOf = (key: string) => join(dir, `${createHash("sha256").update(key).digest("hex").slice(0, 32)}.json`);
  return {
    load: (key) => readFile(fileOf(key), "utf8").catch(() => undefined),
    async save(key, text) {
      try {
        await mkdir(dir, { recursive: true });
        await writeFileAtomic(fileOf(key), text);
      } catch {
        // a cache: the next process measures once more
      }
    },
  };
}
