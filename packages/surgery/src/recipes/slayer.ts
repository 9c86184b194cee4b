import type { ModelConfig } from "@slayer/checkpoint";
import { PlanError } from "../errors.js";
import type { SurgeryPlan, UnplacedBlock } from "../plan.js";
import { assemble, branchOutputs, meanOf, original } from "../plan.js";
import { atLeast } from "./options.js";

/**
 * The S strategy of "Llama SLayer 8B: Shallow Layers Hold the Key to Knowledge Injection" (EMNLP 2024), section 3.3.
 *
 * The shallow blocks are cut into groups; each group gets one new block. The last `prune` blocks are deleted, and the
 * block that is then the last one is updated to keep something of them. Where the paper's text, its figure and its
 * published code differ, each reading is an option; the defaults are the published code's where it decides.
 */
export interface SlayerOptions {
  /** Number of groups, one new block each. Default: as many whole groups as the region gives (8 for 32 blocks). */
  readonly groups?: number;
  /** Base blocks per group. Default 2. */
  readonly groupSize?: number;
  /** Blocks deleted at the end. Default 2. */
  readonly prune?: number;
  /** A new block is the mean of its two neighbours (default) or a copy of the block before it. */
  readonly init?: "average" | "copy";
  /**
   * What the last kept block becomes: the mean of the deleted blocks (default, the paper's text); the mean of itself
   * and the deleted blocks (its figure); or unchanged. Only `keep` makes sense when nothing is deleted.
   */
  readonly final?: "deleted-mean" | "kept-mean" | "keep";
  /** Zero the new blocks' o_proj and down_proj, so that they start by adding nothing. Default true. */
  readonly zero?: boolean;
  /** A group's new block comes after its last block (default: code and figure) or before it (a reading of the text). */
  readonly position?: "after-last" | "before-last";
  /**
   * Where groups come from when `groups` is not given: the first half of the blocks, rounded down to whole groups, or
   * the first third, rounded up (the paper takes 12 of 32). Default `half`.
   */
  readonly region?: "half" | "third";
}

/** Plans the S strategy. Throws `PlanError` when groups and pruning do not fit the model. */
export function planSlayer(config: ModelConfig, options: SlayerOptions = {}): SurgeryPlan {
  const depth = config.blocks;
  const { init = "average", zero = true, position = "after-last", region = "half" } = options;
  const groupSize = atLeast(position === "before-last" ? 2 : 1, "groupSize", options.groupSize ?? 2);
  const prune = atLeast(0, "prune", options.prune ?? 2);
  const final = options.final ?? (prune === 0 ? "keep" : "deleted-mean");
  if (prune >= depth)
    throw new PlanError(`prune must leave a block: the model has ${depth} blocks, got prune ${prune}`);
  if (prune === 0 && final !== "keep") {
    throw new PlanError(`final "${final}" averages deleted blocks, but prune is 0; use final "keep" or prune blocks`);
  }

  const notes: string[] = [];
  const derived = region === "half" ? Math.floor(Math.floor(depth / 2) / groupSize) : Math.ceil(depth / 3 / groupSize);
  const groups = atLeast(1, "groups", options.groups ?? derived, `${depth} blocks in groups of ${groupSize}`);
  if (options.groups === undefined) {
    notes.push(
      `groups: the first ${region} of ${depth} blocks, in whole groups of ${groupSize} rounded ` +
        `${region === "half" ? "down" : "up"}, gives ${groups}: blocks 0 to ${groups * groupSize - 1}`,
    );
  }

  const kept = depth - prune;
  const insertAfter = (group: number): number => (group + 1) * groupSize - (position === "before-last" ? 2 : 1);
  // The last new block must sit before the updated block, and averaging needs a kept block on its other side.
  const lastAllowed = init === "average" || final !== "keep" ? kept - 2 : kept - 1;
  if (insertAfter(groups - 1) > lastAllowed) {
    const most = Math.max(0, Math.floor((lastAllowed + (position === "before-last" ? 2 : 1)) / groupSize));
    const room = lastAllowed < 0 ? "there is no place for a new block" : `the last place is after block ${lastAllowed}`;
    throw new PlanError(
      `groups ${groups} of size ${groupSize} do not fit: with ${depth} blocks and ${prune} pruned, ${room}, ` +
        `so there is room for ${most}; take fewer or smaller groups, or prune less`,
    );
  }

  const zeroed = zero ? branchOutputs(config) : [];
  const newAfter = new Set(Array.from({ length: groups }, (_, group) => insertAfter(group)));
  const blocks: UnplacedBlock[] = [];
  for (let block = 0; block < kept; block += 1) {
    blocks.push(block === kept - 1 ? lastKept(block, depth, final) : original(block));
    if (newAfter.has(block)) {
      blocks.push({ kind: "inserted", sources: meanOf(init === "average" ? [block, block + 1] : [block]), zeroed });
    }
  }
  if (prune > 0) notes.push(`pruned: blocks ${kept} to ${depth - 1} of the base`);
  const recipe = { name: "slayer", groups, groupSize, prune, init, final, zero, position, region };
  return assemble(recipe, config, blocks, notes);
}

function lastKept(block: number, depth: number, final: "deleted-mean" | "kept-mean" | "keep"): UnplacedBlock {
  if (final === "keep") return original(block);
  const first = final === "deleted-mean" ? block + 1 : block;
  const averaged = Array.from({ length: depth - first }, (_, offset) => first + offset);
  return { kind: "updated", sources: meanOf(averaged), zeroed: [] };
}
