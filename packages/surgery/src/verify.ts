import { isDeepStrictEqual } from "node:util";
import type { Checkpoint, Provenance } from "@slayer/checkpoint";
import { CheckpointError, editConfig, PROVENANCE_FILE, readProvenance } from "@slayer/checkpoint";
import { PlanError } from "./errors.js";
import { parsePlan } from "./parse-plan.js";
import type { SurgeryPlan } from "./plan.js";
import { trainableBlocks } from "./plan.js";
import type { VerifyProblem } from "./problems.js";
import { compareRecord, compareTensorRecords } from "./verify-record.js";
import { compareSideFiles } from "./verify-side-files.js";
import { compareTensors } from "./verify-tensors.js";
import { tensorTasks } from "./tasks.js";

export interface VerifyOptions {
  /** What the surgery should have done. Without it, provenance.json says so, and only the tensors are held against it. */
  readonly plan?: SurgeryPlan;
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
  readonly signal?: AbortSignal;
}

export interface VerifyReport {
  /** No problems at all. */
  readonly ok: boolean;
  readonly problems: readonly VerifyProblem[];
  /** Tensors found exactly as planned, by how they were made. */
  readonly copied: number;
  readonly averaged: number;
  readonly zeroed: number;
  /** Bytes of tensor data read from both checkpoints. */
  readonly bytesRead: number;
  /** Whether the plan says that both models compute the same function; comparing their logits is left to the caller. */
  readonly preservesFunction: boolean;
}

/**
 * Proves a surgery: reads both checkpoints, makes every new tensor again from the base, and compares all bytes, the
 * config, the side files, and provenance.json with its hashes of both sides. Memory as in `expand`.
 *
 * What is wrong with the expanded checkpoint comes back as a list, everything that was found; only a bad base, or a plan
 * that is not for this base, throws (`CheckpointError`, `PlanError`).
 */
export async function verify(
  base: Checkpoint,
  expanded: Checkpoint,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  base.validate();
  const readBefore = base.bytesRead + expanded.bytesRead;
  const problems: VerifyProblem[] = [];
  const provenance = await record(expanded.dir, problems);
  const plan = options.plan ?? planOf(provenance, base, problems);
  const report = (copied: number, averaged: number, zeroed: number): VerifyReport => ({
    ok: problems.length === 0,
    problems,
    copied,
    averaged,
    zeroed,
    bytesRead: base.bytesRead + expanded.bytesRead - readBefore,
    preservesFunction: plan?.preservesFunction ?? false,
  });
  if (plan === undefined) return report(0, 0, 0);

  const tasks = tensorTasks(base, plan);
  problems.push(...compareConfig(base, expanded, plan));
  if (provenance !== undefined) problems.push(...compareRecord(plan, provenance));
  const tensors = await compareTensors(base, expanded, tasks, options);
  problems.push(...tensors.problems);
  if (provenance !== undefined) problems.push(...compareTensorRecords(tasks, provenance, tensors));
  problems.push(...(await compareSideFiles(base.dir, expanded.dir)));
  return report(tensors.copied, tensors.averaged, tensors.zeroed);
}

async function record(dir: string, problems: VerifyProblem[]): Promise<Provenance | undefined> {
  try {
    const provenance = await readProvenance(dir);
    if (provenance !== null) return provenance;
    problems.push({ code: "missing-provenance", message: `${dir} has no ${PROVENANCE_FILE}` });
  } catch (error) {
    if (!(error instanceof CheckpointError)) throw error;
    problems.push({ code: "bad-provenance", message: error.message });
  }
  return undefined;
}

/** The plan that provenance.json claims, read as carefully as a plan file. */
function planOf(
  provenance: Provenance | undefined,
  base: Checkpoint,
  problems: VerifyProblem[],
): SurgeryPlan | undefined {
  if (provenance === undefined) return undefined;
  const { recipe, blocks, preservesFunction } = provenance;
  const claimed = {
    version: 1,
    recipe,
    baseBlocks: base.config.blocks,
    blocks,
    preservesFunction,
    trainable: { blocks: trainableBlocks(blocks) },
    notes: [],
  };
  try {
    const plan = parsePlan(JSON.stringify(claimed), PROVENANCE_FILE);
    tensorTasks(base, plan);
    return plan;
  } catch (error) {
    if (!(error instanceof PlanError)) throw error;
    problems.push({ code: "bad-provenance", message: error.message });
    return undefined;
  }
}

function compareConfig(base: Checkpoint, expanded: Checkpoint, plan: SurgeryPlan): VerifyProblem[] {
  const wanted = editConfig(base.rawConfig, { num_hidden_layers: plan.blocks.length });
  const keys = [...new Set([...Object.keys(wanted), ...Object.keys(expanded.rawConfig)])];
  return keys
    .filter((key) => !isDeepStrictEqual(wanted[key], expanded.rawConfig[key]))
    .map((key) => ({
      code: "config-mismatch" as const,
      message:
        `config.json: ${key} should be ${JSON.stringify(wanted[key]) ?? "absent"}, ` +
        `it is ${JSON.stringify(expanded.rawConfig[key]) ?? "absent"}`,
    }));
}
