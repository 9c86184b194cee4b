import type { ModelConfig } from "@slayer/checkpoint";
import { PlanError } from "../errors.js";
import type { SurgeryPlan, UnplacedBlock } from "../plan.js";
import { assemble, trainedOriginal } from "../plan.js";
import { atLeast } from "./options.js";

/**
 * Depth up-scaling of SOLAR 10.7B (Kim et al., arXiv:2312.15166): the model without its last m blocks, followed by the
 * model without its first m blocks. All blocks are trained.
 */
export interface SolarOptions {
  /** m, the blocks each of the two copies goes without at the seam. Default: a quarter of the depth, rounded down (8 of 32). */
  readonly trim?: number;
}

/**
 * Plans depth up-scaling to 2·(depth − m) blocks: 0 … depth−m−1, then m … depth−1.
 *
 * Blocks m … depth−m−1 come twice; their second appearance counts as inserted, everything else as the base's own block
 * to be trained. Throws `PlanError` when m leaves nothing to repeat.
 */
export function planSolar(config: ModelConfig, options: SolarOptions = {}): SurgeryPlan {
  const depth = config.blocks;
  const trim = atLeast(0, "trim", options.trim ?? Math.floor(depth / 4));
  const kept = depth - trim;
  if (2 * trim >= depth) {
    throw new PlanError(
      `trim ${trim} leaves no block of ${depth} to come twice, so the model would not grow: ` +
        `take at most ${Math.ceil(depth / 2) - 1}`,
    );
  }
  const notes: string[] = [];
  if (options.trim === undefined) {
    const even =
      depth % 4 === 0 ? "" : `; ${depth} is no multiple of 4, so the new depth is not exactly 1.5 times the old`;
    notes.push(`trim: a quarter of ${depth} blocks, rounded down, gives ${trim}${even}`);
  }
  notes.push(`seam: block ${kept - 1} of the base is followed by block ${trim}`);
  const blocks: UnplacedBlock[] = [];
  for (let block = 0; block < kept; block += 1) blocks.push(trainedOriginal(block));
  for (let block = trim; block < depth; block += 1) {
    blocks.push(block < kept ? { ...trainedOriginal(block), kind: "inserted" } : trainedOriginal(block));
  }
  return assemble({ name: "solar", trim }, config, blocks, notes);
}
