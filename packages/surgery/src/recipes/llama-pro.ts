import type { ModelConfig } from "@slayer/checkpoint";
import { PlanError } from "../errors.js";
import type { SurgeryPlan, UnplacedBlock } from "../plan.js";
import { assemble, branchOutputs, meanOf, original } from "../plan.js";
import { atLeast } from "./options.js";

/**
 * LLaMA Pro (Wu et al., 2024): new blocks at even intervals over the whole depth, each a copy of the block before it
 * that starts by adding nothing.
 */
export interface LlamaProOptions {
  /** Number of new blocks. Default: as many as `every` gives. */
  readonly groups?: number;
  /** Base blocks per group; the new block follows the last. Default: depth / groups, or else 4 (8 groups in 32). */
  readonly every?: number;
  readonly init?: "copy";
  /** Zero the new blocks' o_proj and down_proj. Default true. */
  readonly zero?: boolean;
}

/** Plans LLaMA Pro. Throws `PlanError` when the groups do not fit the model. */
export function planLlamaPro(config: ModelConfig, options: LlamaProOptions = {}): SurgeryPlan {
  const depth = config.blocks;
  const { init = "copy", zero = true } = options;
  const wanted = options.groups === undefined ? undefined : atLeast(1, "groups", options.groups);
  const defaultEvery = wanted === undefined ? Math.min(4, depth) : Math.max(1, Math.floor(depth / wanted));
  const every = atLeast(1, "every", options.every ?? defaultEvery);
  const groups = wanted ?? Math.floor(depth / every);
  if (groups < 1 || groups * every > depth) {
    throw new PlanError(
      `${Math.max(1, groups)} groups of ${every} do not fit ${depth} blocks: ` +
        (every > depth ? `every must be at most ${depth}` : `at most ${Math.floor(depth / every)} groups of ${every}`),
    );
  }

  const notes: string[] = [];
  if (options.groups === undefined || options.every === undefined) {
    notes.push(`groups: ${groups} of ${every} blocks, one new block after each`);
  }
  if (groups * every < depth) {
    notes.push(`${depth} blocks do not divide evenly: no new block after blocks ${groups * every} to ${depth - 1}`);
  }

  const zeroed = zero ? branchOutputs(config) : [];
  const blocks: UnplacedBlock[] = [];
  for (let block = 0; block < depth; block += 1) {
    blocks.push(original(block));
    if ((block + 1) % every === 0 && block < groups * every) {
      blocks.push({ kind: "inserted", sources: meanOf([block]), zeroed });
    }
  }
  return assemble({ name: "llama-pro", groups, every, init, zero }, config, blocks, notes);
}
