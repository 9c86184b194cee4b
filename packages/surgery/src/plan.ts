import type { ModelConfig } from "@slayer/checkpoint";
import { blockTensors } from "@slayer/checkpoint";

/**
 * A surgery plan: for every block of the new model, which blocks of the base model it is made of.
 *
 * Plans are plain data. A recipe is a function from a model's configuration to a plan (see recipes/); nothing after
 * that knows which recipe made it. Tensors outside the blocks (embedding, final norm, lm_head) are always copied.
 */

/** One base block and its share in a new block. */
export interface BlockSource {
  /** Index of a block of the base model. */
  readonly block: number;
  readonly weight: number;
}

/**
 * - `original`: a base block, bit for bit.
 * - `inserted`: a new block, trained.
 * - `updated`: stands where a base block stood, and is trained; it may start as that block or as something else.
 */
export type BlockKind = "original" | "inserted" | "updated";

export interface BlockPlan {
  /** Position in the new model; equals the position in `SurgeryPlan.blocks`. */
  readonly index: number;
  readonly kind: BlockKind;
  /** Each tensor of the block is the weighted sum of the same tensor of these base blocks. */
  readonly sources: readonly BlockSource[];
  /** Tensors of the block that are zero instead, as names inside a block: `self_attn.o_proj.weight`. */
  readonly zeroed: readonly string[];
}

/** The recipe's name and every option with the value it had, defaults included. */
export interface RecipeRecord {
  readonly name: string;
  readonly [option: string]: string | number | boolean;
}

export interface SurgeryPlan {
  readonly version: 1;
  readonly recipe: RecipeRecord;
  readonly baseBlocks: number;
  readonly blocks: readonly BlockPlan[];
  /** Whether the new model computes the same function as the base, for every input. */
  readonly preservesFunction: boolean;
  /** What post-training changes by default: the new and updated blocks, by index. Everything else is frozen. */
  readonly trainable: { readonly blocks: readonly number[] };
  /** How defaults were derived, and what did not divide evenly; for people. */
  readonly notes: readonly string[];
}

export const limits = {
  /** The deepest published Llama has 126 blocks; this bounds what a plan file can make us allocate. */
  blocks: 4096,
  sourcesPerBlock: 64,
  zeroedPerBlock: 64,
  notes: 64,
  textLength: 2000,
} as const;

/** A block before it has its place. */
export type UnplacedBlock = Omit<BlockPlan, "index">;

/** Base block `block` as it is. */
export function original(block: number): UnplacedBlock {
  return { kind: "original", sources: [{ block, weight: 1 }], zeroed: [] };
}

/** Base block `block` in its place, to be trained from what it is. */
export function trainedOriginal(block: number): UnplacedBlock {
  return { kind: "updated", sources: [{ block, weight: 1 }], zeroed: [] };
}

/** The plain mean of base blocks, with the weight 1/n each. */
export function meanOf(blocks: readonly number[]): BlockSource[] {
  return blocks.map((block) => ({ block, weight: 1 / blocks.length }));
}

/**
 * The last linear maps of a block's two branches, biases included: with these at zero the block adds nothing to the
 * residual stream.
 */
export function branchOutputs(config: ModelConfig): string[] {
  const names = [...blockTensors(config).keys()];
  return names.filter((name) => name.startsWith("self_attn.o_proj.") || name.startsWith("mlp.down_proj."));
}

/** Numbers the blocks and derives what follows from them: trainable set and whether the function is preserved. */
export function assemble(
  recipe: RecipeRecord,
  config: ModelConfig,
  unplaced: readonly UnplacedBlock[],
  notes: readonly string[],
): SurgeryPlan {
  const blocks = unplaced.map((block, index) => ({ index, ...block }));
  return {
    version: 1,
    recipe,
    baseBlocks: config.blocks,
    blocks,
    preservesFunction: preservesFunction(blocks, config.blocks, branchOutputs(config)),
    trainable: { blocks: trainableBlocks(blocks) },
    notes,
  };
}

/** New and updated blocks are trained; a base block is not. */
export function trainableBlocks(blocks: readonly BlockPlan[]): number[] {
  return blocks.filter((block) => block.kind !== "original").map((block) => block.index);
}

/**
 * Whether blocks like these compute what the base computes: every base block there once and in order, and between them
 * only blocks that add nothing to the residual stream. A block `x + attn(norm(x))`, `x + mlp(norm(x))` adds nothing
 * when the last linear maps of both branches (`outputs`, weights and biases) are zero.
 */
export function preservesFunction(
  blocks: readonly UnplacedBlock[],
  baseBlockCount: number,
  outputs: readonly string[],
): boolean {
  let next = 0;
  for (const block of blocks) {
    if (copiedBlock(block) === next) next += 1;
    else if (!outputs.every((name) => block.zeroed.includes(name))) return false;
  }
  return next === baseBlockCount;
}

/** The base block that this block is a copy of, whole and unchanged; undefined when it is anything else. */
export function copiedBlock({ sources, zeroed }: UnplacedBlock): number | undefined {
  const [first] = sources;
  return sources.length === 1 && first?.weight === 1 && zeroed.length === 0 ? first.block : undefined;
}
