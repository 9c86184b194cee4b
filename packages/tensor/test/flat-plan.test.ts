import { BackendError, type Buffer, flattenPlan, Graph, makePlan, matmul, type Plan } from "@slayer/tensor";
import { describe, expect, it } from "vitest";

const graph = new Graph();
const y = matmul(graph.input("x", [2, 3], "f32"), graph.parameter("w", [3, 4]));
const plan = makePlan(graph, { y });
const [arena, inputs, weights]: [Buffer, Buffer, Buffer] = [{ bytes: 32 }, { bytes: 24 }, { bytes: 4096 }];
const persistent = [{ buffer: weights, offset: 256 }];

describe("flattenPlan", () => {
  it("makes every operand a range of a buffer, each buffer named once", () => {
    expect(flattenPlan(plan, { arena, inputs, persistent }, "test")).toEqual({
      buffers: [inputs, weights, arena],
      steps: [
        {
          op: "matmul",
          attrs: plan.steps[0]!.attrs,
          inputs: [
            { buffer: 0, offset: 0, dtype: "f32", shape: [2, 3] },
            { buffer: 1, offset: 256, dtype: "f32", shape: [3, 4] },
          ],
          outputs: [{ buffer: 2, offset: 0, dtype: "f32", shape: [2, 4] }],
        },
      ],
    });
  });

  it("refuses what is not bound, and operands that break their op's rules, naming backend, step and op", () => {
    const flat = (changed: Plan, bound = persistent) =>
      flattenPlan(changed, { arena, inputs, persistent: bound }, "test");
    expect(() => flat(plan, [])).toThrow(new BackendError("test: persistent tensor 0 of the plan is not bound"));
    const [step] = plan.steps;
    const altered = (change: object): Plan => ({ ...plan, steps: [{ ...step!, ...change }] });
    expect(() => flat(altered({ outputs: [{ ...step!.outputs[0]!, shape: [2, 5] }] }))).toThrow(
      "test: step 0, matmul: yields f32[2,4], but the plan says f32[2,5]",
    );
    expect(() => flat(altered({ inputs: step!.inputs.toReversed() }))).toThrow(/^test: step 0, matmul: matmul: wanted/);
  });
});
