import { z } from "zod";
import { PlanError } from "./errors.js";
import type { BlockPlan, RecipeRecord, SurgeryPlan } from "./plan.js";
import { copiedBlock, limits, preservesFunction, trainableBlocks } from "./plan.js";

const index = z.int().min(0).max(limits.blocks);
const text = z.string().max(limits.textLength);
/** The name of a tensor inside a block. Dots only between parts, so it cannot climb out of the block's namespace. */
const tensorInBlock = z
  .string()
  .max(200)
  .regex(/^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*$/);

const planSchema = z.strictObject({
  version: z.literal(1),
  recipe: z.looseObject({ name: text }),
  baseBlocks: z.int().min(1).max(limits.blocks),
  blocks: z
    .array(
      z.strictObject({
        index,
        kind: z.enum(["original", "inserted", "updated"]),
        sources: z
          .array(z.strictObject({ block: index, weight: z.number() }))
          .min(1)
          .max(limits.sourcesPerBlock),
        zeroed: z.array(tensorInBlock).max(limits.zeroedPerBlock),
      }),
    )
    .min(1)
    .max(limits.blocks),
  preservesFunction: z.boolean(),
  trainable: z.strictObject({ blocks: z.array(index).max(limits.blocks) }),
  notes: z.array(text).max(limits.notes),
});

/** The most characters a plan file may have; a plan of 4096 blocks has about 1 MB. */
const maxPlanCharacters = 16 * 1024 * 1024;

/**
 * Reads a plan from JSON text that may come from anywhere. `file` names it in errors.
 *
 * Throws `PlanError` for text that is not JSON, a field that is missing, unknown, of the wrong type or out of range, and
 * a plan that contradicts itself. Whether it fits a model is `checkPlan`'s question.
 */
export function parsePlan(json: string, file = "plan"): SurgeryPlan {
  if (json.length > maxPlanCharacters) {
    throw new PlanError(`a plan has at most ${maxPlanCharacters} characters, got ${json.length}`, file);
  }
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch (cause) {
    throw new PlanError(`not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, file);
  }
  const parsed = planSchema.safeParse(data);
  if (!parsed.success) {
    const first = parsed.error.issues[0];
    throw new PlanError(`${first?.path.join(".") || "the document"}: ${first?.message ?? "not a plan"}`, file);
  }
  const plan: SurgeryPlan = { ...parsed.data, recipe: recipeRecord(parsed.data.recipe, file) };
  const problem = contradiction(plan);
  if (problem !== undefined) throw new PlanError(problem, file);
  return plan;
}

function recipeRecord(recipe: Record<string, unknown> & { name: string }, file: string): RecipeRecord {
  const entries = Object.entries(recipe);
  const plain = entries.every(
    ([key, value]) =>
      key.length <= 100 &&
      (typeof value === "number" ||
        typeof value === "boolean" ||
        (typeof value === "string" && value.length <= limits.textLength)),
  );
  if (!plain || entries.length > 64) throw new PlanError("recipe: want at most 64 short plain options", file);
  return { ...Object.fromEntries(entries as [string, string | number | boolean][]), name: recipe.name };
}

function contradiction(plan: SurgeryPlan): string | undefined {
  const seen = new Set<number>();
  for (const [position, block] of plan.blocks.entries()) {
    if (block.index !== position) return `blocks.${position}.index: want ${position}, got ${block.index}`;
    const problem = blockContradiction(block, plan.baseBlocks);
    if (problem !== undefined) return `blocks.${position}.${problem}`;
    const source = block.sources[0]?.block;
    if (block.kind === "original" && source !== undefined) {
      if (seen.has(source)) return `blocks.${position}: base block ${source} is already there as an original`;
      seen.add(source);
    }
  }
  // The weights must be zero in every model of this family; whether there are biases too only the model's config says.
  const outputs = ["self_attn.o_proj.weight", "mlp.down_proj.weight"];
  if (plan.preservesFunction && !preservesFunction(plan.blocks, plan.baseBlocks, outputs)) {
    return "preservesFunction: the plan says true, but its blocks change the function";
  }
  const wanted = trainableBlocks(plan.blocks);
  const got = plan.trainable.blocks;
  if (got.some((block, at) => block >= plan.blocks.length || (at > 0 && block <= (got[at - 1] ?? -1)))) {
    return `trainable.blocks: want increasing indices below ${plan.blocks.length}, got ${got.join(", ")}`;
  }
  const missing = wanted.find((block) => !got.includes(block));
  if (missing !== undefined) return `trainable.blocks: block ${missing} is new or updated, yet not trained`;
  const frozen = got.find((block) => !wanted.includes(block));
  if (frozen !== undefined) {
    return `trainable.blocks: block ${frozen} is an original, which stays frozen; to train it, make its kind "updated"`;
  }
  return undefined;
}

function blockContradiction(block: BlockPlan, baseBlocks: number): string | undefined {
  const blocks = block.sources.map((source) => source.block);
  const outside = blocks.find((source) => source >= baseBlocks);
  if (outside !== undefined) return `sources: block ${outside} is not in a base of ${baseBlocks} blocks`;
  if (new Set(blocks).size !== blocks.length) return "sources: a block is named twice";
  if (new Set(block.zeroed).size !== block.zeroed.length) return "zeroed: a tensor is named twice";
  if (block.kind === "original" && copiedBlock(block) === undefined) {
    return "kind: an original block has one source of weight 1 and nothing zeroed";
  }
  return undefined;
}
