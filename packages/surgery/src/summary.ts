import type { ModelConfig } from "@slayer/checkpoint";
import { parameterCount } from "@slayer/checkpoint";
import { checkPlan } from "./check-plan.js";
import type { StepFlops, TrainingMemory } from "./cost.js";
import { stepFlops, trainingMemory } from "./cost.js";
import type { BlockKind, BlockPlan, SurgeryPlan } from "./plan.js";
import { copiedBlock } from "./plan.js";

/** One line of the block table: a run of consecutive base blocks or copies of such, or one other block. */
export interface BlockRow {
  /** First and last index in the new model. */
  readonly first: number;
  readonly last: number;
  readonly kind: BlockKind;
  /** `16-28`, `copy of 3`, `copy of 8-23`, `mean of 1, 2`, `0.7*1 + 0.3*2`. */
  readonly from: string;
  readonly zeroed: readonly string[];
}

/** What a plan means for a model, as numbers. Parameters are elements; memory and disk are bytes. */
export interface PlanSummary {
  readonly recipe: SurgeryPlan["recipe"];
  readonly baseBlocks: number;
  readonly blocks: number;
  readonly rows: readonly BlockRow[];
  readonly preservesFunction: boolean;
  readonly parameters: {
    readonly base: number;
    readonly total: number;
    readonly perBlock: number;
    readonly vocabularyMatrix: number;
  };
  readonly trainable: {
    readonly blocks: readonly number[];
    /** Parameters of the trained blocks. */
    readonly parameters: number;
    /** The same and one vocabulary matrix, as the paper's Table 4 counts. */
    readonly parametersWithVocabulary: number;
  };
  /** One training step per token: what the plan trains, and for comparison everything. */
  readonly flops: { readonly planned: StepFlops; readonly everything: StepFlops };
  readonly memory: readonly TrainingMemory[];
  /** Tensor data of the new checkpoint in the config's dtype; and of its trained blocks, which is what a delta of it holds. */
  readonly disk: { readonly dtype: string; readonly bytes: number; readonly deltaBytes: number };
  readonly notes: readonly string[];
}

/** Bytes per element of the dtypes that Transformers writes into config.json; anything else is taken as float32. */
const dtypeBytes: ReadonlyMap<string, number> = new Map([
  ["float64", 8],
  ["float32", 4],
  ["bfloat16", 2],
  ["float16", 2],
]);

/**
 * Numbers for a plan, from the base model's config alone.
 *
 * `sequenceLength` is that of training; by default 4096, or the model's longest where that is shorter.
 * Throws `PlanError` when the plan is for another model or a cost is beyond 2^53, `CheckpointError` when the new model has 2^53 parameters.
 */
export function describePlan(
  plan: SurgeryPlan,
  config: ModelConfig,
  options: { readonly sequenceLength?: number } = {},
): PlanSummary {
  checkPlan(plan, config);
  const blocks = plan.blocks.length;
  const base = parameterCount(config);
  const { total } = parameterCount({ ...config, blocks });
  const sequenceLength = options.sequenceLength ?? Math.min(4096, config.maxPositionEmbeddings);
  const trained = plan.trainable.blocks.length * base.block;
  const all = plan.blocks.map((block) => block.index);
  const dtype = dtypeBytes.has(config.dtype) ? config.dtype : "float32";
  const dtypeSize = dtypeBytes.get(dtype) ?? 4;
  return {
    recipe: plan.recipe,
    baseBlocks: plan.baseBlocks,
    blocks,
    rows: blockRows(plan.blocks),
    preservesFunction: plan.preservesFunction,
    parameters: { base: base.total, total, perBlock: base.block, vocabularyMatrix: base.vocabularyMatrix },
    trainable: {
      blocks: plan.trainable.blocks,
      parameters: trained,
      parametersWithVocabulary: trained + base.vocabularyMatrix,
    },
    flops: {
      planned: stepFlops(config, blocks, plan.trainable.blocks, sequenceLength),
      everything: stepFlops(config, blocks, all, sequenceLength, true),
    },
    memory: [trainingMemory("f32", total, trained), trainingMemory("bf16", total, trained)],
    disk: { dtype, bytes: total * dtypeSize, deltaBytes: trained * dtypeSize },
    notes: plan.notes,
  };
}

/** The block table; whole copies of neighbouring base blocks that stay neighbours share a row. */
function blockRows(blocks: readonly BlockPlan[]): BlockRow[] {
  const rows: BlockRow[] = [];
  for (let first = 0; first < blocks.length;) {
    const block = blocks[first] as BlockPlan;
    const { kind, zeroed } = block;
    const copied = copiedBlock(block);
    let last = first;
    let from = mixture(block);
    if (copied !== undefined) {
      while (continues(blocks[last + 1], kind, copied + last + 1 - first)) last += 1;
      const run = last === first ? `${copied}` : `${copied}-${copied + last - first}`;
      from = kind === "original" ? run : `copy of ${run}`;
    }
    rows.push({ first, last, kind, from, zeroed });
    first = last + 1;
  }
  return rows;
}

function continues(block: BlockPlan | undefined, kind: BlockKind, source: number): boolean {
  return block?.kind === kind && copiedBlock(block) === source;
}

function mixture({ sources }: BlockPlan): string {
  const [first] = sources;
  if (sources.length === 1 && first?.weight === 1) return `copy of ${first.block}`;
  if (sources.every((source) => source.weight === 1 / sources.length)) {
    return `mean of ${sources.map((source) => source.block).join(", ")}`;
  }
  return sources.map((source) => `${source.weight}*${source.block}`).join(" + ");
}
