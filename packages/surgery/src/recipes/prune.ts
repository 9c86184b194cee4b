import type { ModelConfig } from "@slayer/checkpoint";
import { formatBlockList, parseBlockList } from "../block-list.js";
import type { BlockValues, ChosenBlocks } from "../block-values.js";
import { checkBlockValues, lowestBlocks, measuredRun } from "../block-values.js";
import { PlanError } from "../errors.js";
import type { SurgeryPlan, UnplacedBlock } from "../plan.js";
import { assemble, original } from "../plan.js";
import type { FinalBlock } from "./final.js";
import { beforeDeleted } from "./final.js";
import { atLeast } from "./options.js";

/** Removes blocks, as listed or by importance ("The Unreasonable Ineffectiveness of the Deeper Layers", ShortGPT). */
export interface PruneOptions {
  /** The blocks to remove, as a list: `21-24,30`. Without it they are chosen by `importance`. */
  readonly blocks?: string;
  /** With `importance`: how many blocks to remove. Default: a quarter of the depth, rounded down, at least 1. */
  readonly prune?: number;
  /**
   * With `importance`: the consecutive blocks that together turn the residual stream least (`run`, default; Gromov et
   * al., arXiv:2403.17887), or the blocks that matter least one by one (`lowest`; Men et al., arXiv:2403.03853).
   */
  readonly choose?: "run" | "lowest";
  /** What the block before the removed ones becomes; other than `keep` (default), it is then trained. */
  readonly final?: FinalBlock;
}

/** Plans the removal of blocks. Throws `PlanError` when it is not said which, or when none would be left. */
export function planPrune(config: ModelConfig, options: PruneOptions = {}, importance?: BlockValues): SurgeryPlan {
  const depth = config.blocks;
  const { final = "keep" } = options;
  const { blocks: removed, reason } = chooseBlocks(depth, options, importance);
  const outside = removed.find((block) => block >= depth);
  if (outside !== undefined) throw new PlanError(`blocks: the model has blocks 0 to ${depth - 1}, got ${outside}`);
  if (removed.length >= depth) throw new PlanError(`blocks: removing all ${depth} blocks leaves no model`);
  const first = removed[0] as number;
  const consecutive = removed.at(-1) === first + removed.length - 1;
  if (final !== "keep" && !(consecutive && first > 0)) {
    throw new PlanError(
      `final "${final}" updates the block before one run of removed blocks; ${formatBlockList(removed)} ` +
        (consecutive ? "has none before it" : "is more than one run") +
        `: use final "keep" or other blocks`,
    );
  }

  const gone = new Set(removed);
  const blocks: UnplacedBlock[] = [];
  for (let block = 0; block < depth; block += 1) {
    if (gone.has(block)) continue;
    blocks.push(block === first - 1 ? beforeDeleted(block, removed.length, final) : original(block));
  }
  const list = formatBlockList(removed);
  const choose = options.blocks === undefined ? (options.choose ?? "run") : "list";
  const recipe = { name: "prune", blocks: list, prune: removed.length, choose, final };
  return assemble(recipe, config, blocks, [`pruned: blocks ${list} of the base${reason && `, ${reason}`}`]);
}

function chooseBlocks(depth: number, options: PruneOptions, importance: BlockValues | undefined): ChosenBlocks {
  const { blocks, choose = "run" } = options;
  if (blocks !== undefined) {
    if (importance !== undefined || options.prune !== undefined || options.choose !== undefined) {
      throw new PlanError("give the list of blocks, or importance scores with prune and choose; got both");
    }
    return { blocks: parseBlockList(blocks), reason: "" };
  }
  if (importance === undefined) {
    throw new PlanError('recipe "prune" needs the blocks to remove: a list like 21-24, or importance scores');
  }
  checkBlockValues(importance, depth);
  const prune = atLeast(1, "prune", options.prune ?? Math.max(1, Math.floor(depth / 4)));
  if (prune >= depth)
    throw new PlanError(`prune must leave a block: the model has ${depth} blocks, got prune ${prune}`);
  const found = choose === "run" ? measuredRun(importance, prune) : lowestBlocks(importance, prune);
  const why = options.prune === undefined ? ` (${prune}: a quarter of ${depth}, rounded down, at least 1)` : "";
  const of = importance.of === undefined ? "" : ` (${importance.of})`;
  return { blocks: found.blocks, reason: `by importance${of}: ${found.reason}${why}` };
}
