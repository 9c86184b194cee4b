import type { ModelConfig } from "@slayer/checkpoint";
import { blockTensors } from "@slayer/checkpoint";
import { z } from "zod";
import { PlanError } from "../errors.js";
import type { BlockSource, SurgeryPlan, UnplacedBlock } from "../plan.js";
import { assemble, branchOutputs, limits, meanOf, original, trainedOriginal } from "../plan.js";
import { parseYaml } from "@slayer/checkpoint";

const last = limits.blocks - 1;
const block = z.int().min(0).max(last);
/** `[1, 2]` is the plain mean of base blocks 1 and 2; otherwise every block has its weight. */
const sources = z.union([
  z.array(block).min(1).max(limits.sourcesPerBlock),
  z
    .array(z.strictObject({ block, weight: z.number() }))
    .min(1)
    .max(limits.sourcesPerBlock),
]);
/** `branches`: what makes a block add nothing, o_proj and down_proj with their biases. Otherwise names inside a block. */
const zeroed = z.union([z.enum(["branches", "none"]), z.array(z.string().max(200)).max(limits.zeroedPerBlock)]);

const customSchema = z.strictObject({
  /** Blocks of the base that go. */
  remove: z.array(block).max(limits.blocks).default([]),
  /** New blocks; those after the same base block (-1: before the first) stand in the order given. */
  insert: z
    .array(z.strictObject({ after: z.int().min(-1).max(last), sources, zeroed: zeroed.default("branches") }))
    .max(limits.blocks)
    .default([]),
  /** Blocks of the base that start anew in their places. */
  update: z
    .array(z.strictObject({ block, sources, zeroed: zeroed.default("none") }))
    .max(limits.blocks)
    .default([]),
  /** What is trained: the new and updated blocks, those and the listed blocks of the base, or all. */
  train: z.union([z.enum(["new", "all"]), z.array(block).max(limits.blocks)]).default("new"),
});

/** A surgery block by block. All indices are those of the base. */
export type CustomSurgery = z.infer<typeof customSchema>;

/** The most characters that are read; a hundred new blocks have some 6,000. */
const maxCharacters = 64 * 1024;

/**
 * Reads a surgery from YAML text (core schema) that may come from anywhere. `file` names it in errors.
 * Throws `PlanError` for text that is not YAML, and a field that is missing, unknown, of the wrong type or out of range.
 */
export function parseCustomSurgery(yaml: string, file = "custom surgery"): CustomSurgery {
  if (yaml.length > maxCharacters) {
    throw new PlanError(`a custom surgery has at most ${maxCharacters} characters, got ${yaml.length}`, file);
  }
  let data: unknown;
  try {
    data = parseYaml(yaml);
  } catch (cause) {
    throw new PlanError(`not valid YAML: ${cause instanceof Error ? cause.message : String(cause)}`, file);
  }
  const parsed = customSchema.safeParse(data);
  if (parsed.success) return parsed.data;
  throw new PlanError(z.prettifyError(parsed.error).slice(0, limits.textLength), file);
}

/** Plans a surgery given block by block. Throws `PlanError` when it contradicts itself or does not fit the model. */
export function planCustom(config: ModelConfig, surgery: CustomSurgery): SurgeryPlan {
  const depth = config.blocks;
  const { remove, insert, update, train } = surgery;
  const listed = Array.isArray(train) ? train : [];
  const updated = update.map((entry) => entry.block);
  checkIndices(depth, "remove", remove);
  checkIndices(depth, "update", updated);
  checkIndices(depth, "train", listed);
  for (const { after } of insert) checkIndices(depth, "insert.after", after === -1 ? [] : [after]);
  for (const { sources: from } of [...insert, ...update])
    checkIndices(
      depth,
      "sources",
      toSources(from).map((s) => s.block),
    );
  const gone = new Set(remove);
  const both = [...updated, ...listed].find((index) => gone.has(index));
  if (both !== undefined) throw new PlanError(`remove: block ${both} is also to be updated or trained`);

  const notes: string[] = [];
  const made = (entry: CustomSurgery["insert" | "update"][number], kind: "inserted" | "updated"): UnplacedBlock => {
    const from = toSources(entry.sources);
    const sum = from.reduce((total, { weight }) => total + weight, 0);
    if (Math.abs(sum - 1) > 1e-6 && notes.length < limits.notes) {
      const which = "after" in entry ? `inserted after ${entry.after}` : `updated at ${entry.block}`;
      notes.push(`weights of the block ${which} add up to ${Number(sum.toPrecision(6))}, not 1`);
    }
    return { kind, sources: from, zeroed: toZeroed(config, entry.zeroed) };
  };

  const newAfter = new Map<number, CustomSurgery["insert"]>();
  for (const entry of insert) newAfter.set(entry.after, [...(newAfter.get(entry.after) ?? []), entry]);
  const anew = new Map(update.map((entry) => [entry.block, entry]));
  const trained = new Set(train === "all" ? Array.from({ length: depth }, (_, i) => i) : listed);
  const blocks: UnplacedBlock[] = [];
  for (let base = -1; base < depth; base += 1) {
    if (base >= 0 && !gone.has(base)) {
      const entry = anew.get(base);
      if (entry !== undefined) blocks.push(made(entry, "updated"));
      else blocks.push(trained.has(base) ? trainedOriginal(base) : original(base));
    }
    for (const entry of newAfter.get(base) ?? []) blocks.push(made(entry, "inserted"));
  }
  if (blocks.length === 0) throw new PlanError(`remove: nothing is left of ${depth} blocks`);
  if (blocks.length > limits.blocks) {
    throw new PlanError(`insert: a model has at most ${limits.blocks} blocks, this would have ${blocks.length}`);
  }
  return assemble({ name: "custom" }, config, blocks, notes);
}

function checkIndices(depth: number, field: string, indices: readonly number[]): void {
  const outside = indices.find((index) => index >= depth);
  if (outside !== undefined) throw new PlanError(`${field}: the base has blocks 0 to ${depth - 1}, got ${outside}`);
  const seen = new Set<number>();
  for (const index of indices) {
    if (seen.has(index)) throw new PlanError(`${field}: block ${index} is named twice`);
    seen.add(index);
  }
}

function toSources(given: CustomSurgery["insert"][number]["sources"]): BlockSource[] {
  const plain = given.filter((source) => typeof source === "number");
  return plain.length > 0 ? meanOf(plain) : given.filter((source) => typeof source !== "number");
}

function toZeroed(config: ModelConfig, given: CustomSurgery["insert"][number]["zeroed"]): readonly string[] {
  if (given === "none") return [];
  if (given === "branches") return branchOutputs(config);
  const known = [...blockTensors(config).keys()];
  const unknown = given.find((name, i) => !known.includes(name) || given.indexOf(name) !== i);
  if (unknown === undefined) return given;
  throw new PlanError(`zeroed: "${unknown}" is named twice or is no tensor of a block; it has ${known.join(", ")}`);
}
