import type { ModelConfig } from "@slayer/checkpoint";
import type { BlockValues } from "../block-values.js";
import { checkBlockValues, leastImportantRun, mostImportantRun } from "../block-values.js";
import { PlanError } from "../errors.js";
import type { SurgeryPlan, UnplacedBlock } from "../plan.js";
import { assemble, branchOutputs, meanOf, original } from "../plan.js";
import type { FinalBlock } from "./final.js";
import { beforeDeleted } from "./final.js";
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
  readonly final?: FinalBlock;
  /** Zero the new blocks' o_proj and down_proj, so that they start by adding nothing. Default true. */
  readonly zero?: boolean;
  /** A group's new block comes after its last block (default: code and figure) or before it (a reading of the text). */
  readonly position?: "after-last" | "before-last";
  /**
   * Where groups come from when `groups` is not given: the first half of the blocks, rounded down to whole groups, or
   * the first third, rounded up (the paper takes 12 of 32). Default `half`.
   */
  readonly region?: "half" | "third";
  /** The first block of the first group. Default 0, or what `importance` says. */
  readonly start?: number;
  /** The first of the deleted blocks. Default: so that the last ones go, or what `importance` says. */
  readonly pruneStart?: number;
}

/**
 * Plans the S strategy. Throws `PlanError` when groups and pruning do not fit the model.
 *
 * `importance` moves both ends to where the blocks themselves say. Deleted are the `prune` consecutive blocks of the
 * deeper half with the smallest sum of values (among equals the deepest); the groups cover the consecutive blocks
 * before those with the largest sum (among equals the shallowest). Their numbers and sizes stay as they are.
 */
export function planSlayer(config: ModelConfig, options: SlayerOptions = {}, importance?: BlockValues): SurgeryPlan {
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
  // A new block's distance from its region's start; the last must sit before the updated block, and averaging needs a
  // kept block on its other side.
  const offset = (group: number): number => (group + 1) * groupSize - (position === "before-last" ? 2 : 1);
  const margin = init === "average" || final !== "keep" ? 2 : 1;
  const place = { depth, prune, size: groups * groupSize, reach: offset(groups - 1), margin };
  const chosen = importance === undefined ? { ...options, notes: [] } : placeByImportance(importance, place, options);
  notes.push(...chosen.notes);
  const pruneStart = atLeast(final === "keep" ? 0 : 1, "pruneStart", chosen.pruneStart ?? depth - prune);
  const start = atLeast(0, "start", chosen.start ?? 0);
  const after = pruneStart + prune;
  if (after > depth) {
    throw new PlanError(
      `pruneStart must be at most ${depth - prune} with ${prune} of ${depth} blocks to prune, got ${pruneStart}`,
    );
  }
  const lastAllowed = pruneStart - margin;
  if (start + offset(groups - 1) > lastAllowed) {
    const most = Math.max(0, Math.floor((lastAllowed - start - offset(0)) / groupSize) + 1);
    const room = lastAllowed < 0 ? "there is no place for a new block" : `the last place is after block ${lastAllowed}`;
    const from = start === 0 ? "" : ` from block ${start} on`;
    throw new PlanError(
      `groups ${groups} of size ${groupSize}${from} do not fit: with ${depth} blocks and ${prune} pruned, ${room}, ` +
        `so there is room for ${most}; take fewer or smaller groups, or prune less`,
    );
  }
  if (options.groups === undefined) {
    notes.unshift(
      `groups: the ${start === 0 ? "first " : ""}${region} of ${depth} blocks, in whole groups of ${groupSize} rounded ` +
        `${region === "half" ? "down" : "up"}, gives ${groups}: blocks ${start} to ${start + groups * groupSize - 1}`,
    );
  }

  const zeroed = zero ? branchOutputs(config) : [];
  const newAfter = new Set(Array.from({ length: groups }, (_, group) => start + offset(group)));
  const blocks: UnplacedBlock[] = [];
  for (let block = 0; block < depth; block += 1) {
    if (block >= pruneStart && block < after) continue;
    blocks.push(block === pruneStart - 1 ? beforeDeleted(block, prune, final) : original(block));
    if (newAfter.has(block)) {
      blocks.push({ kind: "inserted", sources: meanOf(init === "average" ? [block, block + 1] : [block]), zeroed });
    }
  }
  if (prune > 0) notes.push(`pruned: blocks ${pruneStart} to ${after - 1} of the base`);
  const recipe = { name: "slayer", groups, groupSize, prune, init, final, zero, position, region, start, pruneStart };
  return assemble(recipe, config, blocks, notes);
}

interface Place {
  readonly depth: number;
  readonly prune: number;
  /** Blocks that the groups cover. */
  readonly size: number;
  /** From the first of those to the block that the last new one follows. */
  readonly reach: number;
  /** From that block to the first deleted one, at least. */
  readonly margin: number;
}

/** Start of the groups and of the deleted blocks: as given, or else as the values say where there is room. */
function placeByImportance(
  values: BlockValues,
  { depth, prune, size, reach, margin }: Place,
  options: SlayerOptions,
): { readonly start?: number; readonly pruneStart?: number; readonly notes: string[] } {
  checkBlockValues(values, depth);
  const notes = values.of === undefined ? [] : [`importance: ${values.of}`];
  let pruneStart = options.pruneStart ?? depth - prune;
  const shallowest = Math.max(Math.ceil(depth / 2), (options.start ?? 0) + reach + margin);
  if (prune > 0 && options.pruneStart === undefined && shallowest <= depth - prune) {
    const { blocks, reason } = leastImportantRun(values, prune, shallowest, depth - prune);
    pruneStart = blocks[0] as number;
    notes.push(`importance: ${named(blocks)} matter least in the deeper half and go (${reason})`);
  }
  const deepest = Math.min(pruneStart - margin - reach, depth - size);
  if (options.start !== undefined || deepest < 0) return { start: options.start ?? 0, pruneStart, notes };
  const { blocks, reason } = mostImportantRun(values, size, 0, deepest);
  notes.push(`importance: ${named(blocks)} matter most before those and are expanded (${reason})`);
  return { start: blocks[0] as number, pruneStart, notes };
}

function named(blocks: readonly number[]): string {
  return blocks.length === 1 ? `block ${blocks[0]}` : `blocks ${blocks[0]} to ${blocks.at(-1)}`;
}
