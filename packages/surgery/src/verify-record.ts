import { isDeepStrictEqual } from "node:util";
import type { Provenance } from "@slayer/checkpoint";
import type { SurgeryPlan } from "./plan.js";
import type { VerifyProblem } from "./problems.js";
import { provenanceBlocks, provenanceTensor } from "./provenance.js";
import type { TensorTask } from "./tasks.js";
import type { TensorComparison } from "./verify-tensors.js";

/** Where provenance.json's account of recipe and blocks is not the plan's. */
export function compareRecord(plan: SurgeryPlan, provenance: Provenance): VerifyProblem[] {
  const problems: string[] = [];
  const differs = (what: string, wanted: unknown, got: unknown): void => {
    if (isDeepStrictEqual(wanted, got)) return;
    problems.push(
      `${what}: the plan says ${JSON.stringify(wanted)}, provenance.json ${JSON.stringify(got) ?? "nothing"}`,
    );
  };
  differs("recipe", { ...plan.recipe }, { ...provenance.recipe });
  differs("preservesFunction", plan.preservesFunction, provenance.preservesFunction);
  differs("number of blocks", plan.blocks.length, provenance.blocks.length);
  for (const block of provenanceBlocks(plan)) differs(`block ${block.index}`, block, provenance.blocks[block.index]);
  return problems.map((message) => ({ code: "provenance-mismatch", message }));
}

/** Where provenance.json's account of single tensors, or its hashes, are not what plan and files say. */
export function compareTensorRecords(
  tasks: readonly TensorTask[],
  provenance: Provenance,
  found: TensorComparison,
): VerifyProblem[] {
  const problems: VerifyProblem[] = [];
  const recorded = new Map(Object.entries(provenance.tensors));
  for (const task of tasks) {
    const entry = recorded.get(task.name);
    recorded.delete(task.name);
    const message = entry === undefined ? "provenance.json does not list it" : recordProblem(task, entry, found);
    if (message !== undefined) problems.push({ code: "provenance-mismatch", tensor: task.name, message });
  }
  for (const tensor of recorded.keys()) {
    problems.push({ code: "provenance-mismatch", tensor, message: "provenance.json lists it, the plan does not" });
  }

  const baseRecorded = new Map(Object.entries(provenance.base.tensors));
  for (const [tensor, hash] of found.base) {
    const claimed = baseRecorded.get(tensor);
    baseRecorded.delete(tensor);
    if (claimed === hash) continue;
    const message = `the base's tensor has SHA-256 ${hash}, provenance.json says ${claimed ?? "nothing"}; is it this base?`;
    problems.push({ code: "base-mismatch", tensor, message });
  }
  for (const tensor of baseRecorded.keys()) {
    const message = "provenance.json lists it as a tensor of the base that was used; the plan does not use it";
    problems.push({ code: "provenance-mismatch", tensor, message });
  }
  return problems;
}

/** Only a tensor that is as planned is held against its recorded hash: a wrong one was reported already. */
function recordProblem(
  task: TensorTask,
  entry: Provenance["tensors"][string],
  found: TensorComparison,
): string | undefined {
  const { sha256, ...rest } = entry;
  const wanted = provenanceTensor(task);
  if (!isDeepStrictEqual(wanted, rest)) {
    return `the plan makes it from ${JSON.stringify(wanted)}, provenance.json says ${JSON.stringify(rest)}`;
  }
  const hash = found.right.get(task.name);
  if (hash !== undefined && hash !== sha256) return `it has SHA-256 ${hash}, provenance.json says ${sha256}`;
  return undefined;
}
