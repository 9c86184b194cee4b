import type { ModelConfig } from "@slayer/checkpoint";
import { blockTensors } from "@slayer/checkpoint";
import { PlanError } from "./errors.js";
import type { SurgeryPlan } from "./plan.js";
import { branchOutputs, preservesFunction } from "./plan.js";

/**
 * Checks that a plan is one for this model: the number of base blocks, names of zeroed tensors, and the claim to
 * preserve the function (which biases can break). Throws `PlanError`.
 */
export function checkPlan(plan: SurgeryPlan, config: ModelConfig, file?: string): void {
  if (plan.baseBlocks !== config.blocks) {
    throw new PlanError(
      `the plan is for a base of ${plan.baseBlocks} blocks, this model has ${config.blocks}; make a plan for this model`,
      file,
    );
  }
  const tensors = blockTensors(config);
  for (const block of plan.blocks) {
    const unknown = block.zeroed.find((name) => !tensors.has(name));
    if (unknown !== undefined) {
      const known = [...tensors.keys()].join(", ");
      throw new PlanError(`blocks.${block.index}.zeroed: a block has no tensor "${unknown}"; it has ${known}`, file);
    }
    const outside = block.sources.find((source) => source.block >= config.blocks);
    if (outside !== undefined) {
      throw new PlanError(`blocks.${block.index}.sources: the base has no block ${outside.block}`, file);
    }
  }
  const outputs = branchOutputs(config);
  if (plan.preservesFunction !== preservesFunction(plan.blocks, config.blocks, outputs)) {
    throw new PlanError(
      `preservesFunction: the plan says ${plan.preservesFunction}, but this model's blocks say otherwise ` +
        `(a new block must zero ${outputs.join(", ")})`,
      file,
    );
  }
}
