import type { Provenance } from "@slayer/checkpoint";
import type { SurgeryPlan } from "./plan.js";
import type { StreamHashes } from "./stream.js";
import type { TensorTask } from "./tasks.js";

/** The record of a surgery: the plan's blocks, every tensor's sources, and the hashes of what was read and written. */
export function provenanceOf(
  plan: SurgeryPlan,
  tasks: readonly TensorTask[],
  baseName: string,
  hashes: StreamHashes,
): Provenance {
  const baseTensors = [...hashes.base].sort(([a], [b]) => (a < b ? -1 : 1));
  const made = (tensor: string): string => {
    const sha256 = hashes.made.get(tensor);
    if (sha256 === undefined) throw new Error(`${tensor} was not made`);
    return sha256;
  };
  return {
    version: 1,
    recipe: { ...plan.recipe },
    base: { path: baseName, tensors: Object.fromEntries(baseTensors) },
    blocks: provenanceBlocks(plan),
    tensors: Object.fromEntries(
      tasks.map((task) => [task.name, { ...provenanceTensor(task), sha256: made(task.name) }]),
    ),
    preservesFunction: plan.preservesFunction,
  };
}

export function provenanceBlocks(plan: SurgeryPlan): Provenance["blocks"] {
  return plan.blocks.map(({ index, kind, sources, zeroed }) => ({
    index,
    kind,
    sources: sources.map(({ block, weight }) => ({ block, weight })),
    zeroed: [...zeroed],
  }));
}

export function provenanceTensor(task: TensorTask): Omit<Provenance["tensors"][string], "sha256"> {
  return { sources: task.sources.map(({ tensor, weight }) => ({ tensor, weight })), zeroed: task.zeroed };
}
