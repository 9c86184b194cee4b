import { accumulate, copy, differentiate, type DifferentiateOptions, type Tensor } from "@slayer/tensor";
import { companionName } from "./adamw.js";
import type { NamedType } from "./groups.js";

/**
 * Records into the graph of a forward pass that the gradients of `loss` with respect to the trainable parameters are
 * added to those already accumulated, or with `overwrite` take their place. Every trainable parameter must have one.
 */
export function accumulateGradients(
  loss: Tensor,
  trainable: readonly NamedType[],
  { overwrite = false, ...options }: DifferentiateOptions & { overwrite?: boolean } = {},
): void {
  const { graph } = loss;
  const parameters = trainable.map(({ name }) => {
    const parameter = graph.persistent.get(name);
    if (!parameter) throw new Error(`the graph does not use the trainable parameter '${name}'`);
    return parameter;
  });
  differentiate(loss, parameters, options).forEach((gradient, i) => {
    const { name, shape } = trainable[i]!;
    if (!gradient) throw new Error(`the loss does not depend on '${name}'`);
    const kept = graph.state(companionName("gradient", name), shape, gradient.dtype);
    if (overwrite) copy(kept, gradient);
    else accumulate(kept, gradient);
  });
}
