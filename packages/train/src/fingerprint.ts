import { createHash } from "node:crypto";
import type { Checkpoint } from "@slayer/checkpoint";

/** Read of each tensor, at most. */
const SAMPLE_BYTES = 4096;

/**
 * SHA-256 of a model's tensors by name, dtype, shape and first 4 KiB, hex: enough to tell one model from another, since training or
 * surgery leaves no large part of a tensor as it was, without reading all of it.
 */
export async function fingerprint(checkpoint: Checkpoint): Promise<string> {
  const hash = createHash("sha256");
  const byName = [...checkpoint.tensors.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
  for (const { name, dtype, shape, begin, end } of byName) {
    hash.update(JSON.stringify([name, dtype, shape]));
    hash.update(await checkpoint.readRange(name, 0, Math.min(SAMPLE_BYTES, end - begin)));
  }
  return hash.digest("hex");
}
