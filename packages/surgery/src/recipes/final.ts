import type { UnplacedBlock } from "../plan.js";
import { meanOf, original } from "../plan.js";

/**
 * What the last block before deleted ones becomes: the mean of the deleted blocks (the paper's text); the mean of
 * itself and the deleted blocks (its figure); or what it is.
 */
export type FinalBlock = "deleted-mean" | "kept-mean" | "keep";

/** Base block `block`, before the deletion of the `deleted` blocks that follow it. */
export function beforeDeleted(block: number, deleted: number, final: FinalBlock): UnplacedBlock {
  if (final === "keep") return original(block);
  const first = final === "deleted-mean" ? block + 1 : block;
  const averaged = Array.from({ length: block + deleted - first + 1 }, (_, offset) => first + offset);
  return { kind: "updated", sources: meanOf(averaged), zeroed: [] };
}
