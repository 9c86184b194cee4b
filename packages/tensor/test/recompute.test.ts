import {
  differentiate,
  type DifferentiateOptions,
  makePlan,
  type Plan,
  planCost,
  type Step,
  type Tensor,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { bits } from "./eager.js";
import { compile } from "./helpers.js";
import { inputsOf, llamaGraph, llamaValues, sizes } from "./llama-graph.js";

const { B, T, D, H, K, E, F } = sizes;

/** A llama of three blocks with the gradients of the parameters whose name `trainable` accepts. */
function build(trainable: (name: string) => boolean, options: DifferentiateOptions = {}) {
  const { graph, loss } = llamaGraph(3);
  const wanted = [...graph.persistent.values()].filter((t) => t.role === "parameter" && trainable(t.name));
  const gradients = differentiate(loss, wanted, options);
  const outputs: Record<string, Tensor> = { loss };
  wanted.forEach((t, i) => (outputs[`d${t.name}`] = gradients[i]!));
  return { graph, outputs, plan: makePlan(graph, outputs) };
}

const everything = () => true;
const recompute = () => true;
const upperHalf = (name: string) => name.startsWith("1.");

const recomputedIn = (plan: Plan, scope: string | null) => plan.steps.filter((s) => s.recomputed && s.scope === scope);

function opCounts(steps: readonly Step[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { op } of steps) counts[op] = (counts[op] ?? 0) + 1;
  return counts;
}

/** Names of the parameters that a step reads. */
const parametersOf = (plan: Plan, step: Step) =>
  step.inputs.flatMap(({ place }) => (place.in === "persistent" ? [plan.persistent[place.index]!.name] : []));

describe("recomputation", () => {
  it.each([
    ["all weights trainable", everything],
    ["one block trainable", upperHalf],
  ] as const)("leaves loss and gradients bit-identical: %s", async (_, trainable) => {
    const results: Record<string, string>[] = [];
    for (const options of [{}, { recompute }, { recompute: (scope: string) => scope === "block.1" }]) {
      const { graph, outputs } = build(trainable, options);
      const values = llamaValues(graph);
      const { program } = await compile(graph, outputs, values);
      await program.run(inputsOf(graph, values));
      const read = Object.keys(outputs).map(async (name) => [name, bits(await program.read(name))] as const);
      results.push(Object.fromEntries(await Promise.all(read)));
    }
    expect(Object.keys(results[0]!).length).toBeGreaterThan(9);
    expect(results[1]).toEqual(results[0]);
    expect(results[2]).toEqual(results[0]);
  });

  it("makes the arena smaller, the more blocks the smaller", () => {
    const none = build(everything).plan.arenaBytes;
    const one = build(everything, { recompute: (scope) => scope === "block.0" }).plan.arenaBytes;
    const all = build(everything, { recompute }).plan.arenaBytes;
    expect(one).toBeLessThan(none);
    expect(all).toBeLessThan(one);
  });

  it("computes again what the gradients read, and nothing else: not down_proj and the sum after it", () => {
    const { plan } = build(everything, { recompute });
    for (const l of [0, 1, 2]) {
      const steps = recomputedIn(plan, `block.${l}`);
      expect(opCounts(steps)).toEqual({ rmsnorm: 2, matmul: 6, rope: 2, attention: 1, add: 1, swiglu: 1 });
      const modules = ["input_norm", "q_proj", "k_proj", "v_proj", "o_proj", "post_norm", "gate_proj", "up_proj"];
      expect(steps.flatMap((s) => parametersOf(plan, s)).toSorted()).toEqual(
        modules.map((m) => `${l}.${m}`).toSorted(),
      );
    }
    expect(recomputedIn(plan, null)).toEqual([]);
  });

  it("of a frozen block above the trainable one leaves out what only its weight gradients would read: swiglu", () => {
    const { plan } = build(upperHalf, { recompute });
    expect(opCounts(recomputedIn(plan, "block.2"))).toEqual({ rmsnorm: 2, matmul: 6, rope: 2, attention: 1, add: 1 });
    expect(recomputedIn(plan, "block.0")).toEqual([]);
  });

  it("happens in backward order, each block just before its gradients", () => {
    const { plan } = build(everything, { recompute });
    const scopes = plan.steps.filter((s) => s.recomputed).map((s) => s.scope);
    expect(scopes.filter((s, i) => s !== scopes[i - 1])).toEqual(["block.2", "block.1", "block.0"]);
    // Nothing of block 1 is computed again before block 2 is done.
    const lastOf2 = plan.steps.findLastIndex((s) => s.scope === "block.2");
    expect(plan.steps.findIndex((s) => s.recomputed && s.scope === "block.1")).toBeGreaterThan(lastOf2);
  });

  it("is counted apart: model FLOPs stay, FLOPs grow by exactly the recomputed ones", () => {
    const plain = planCost(build(everything).plan);
    const { plan } = build(everything, { recompute });
    const cost = planCost(plan);
    expect(plain.recomputedFlops).toBe(0);
    expect(cost.modelFlops).toBe(plain.modelFlops);
    expect(cost.flops - plain.flops).toBe(cost.recomputedFlops);
    // Of the matrix products in a block: q, k, v, o, gate and up, for B·T tokens.
    const products = 2 * B * T * D * (2 * H * E + 2 * K * E + 2 * F);
    const recomputed = planCost(plan, (s) => s.recomputed && s.scope === "block.1" && s.op === "matmul");
    expect(recomputed.recomputedFlops).toBe(products);
    expect(recomputed.modelFlops).toBe(0);
  });
});
