import {
  add,
  attention,
  differentiate,
  Graph,
  makePlan,
  matmul,
  type Plan,
  planCost,
  type Step,
  sum,
  sumOfSquares,
  type Tensor,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { compile } from "./helpers.js";
import { blockWeights, llamaGraph, sizes } from "./llama-graph.js";

const { B, T, D, H, K, E, F, V } = sizes;

/** The plan of loss and gradients of a llama of three blocks in which the given parameters are trainable. */
function planOf(trainable: readonly string[]): Plan {
  const { graph, loss, weight } = llamaGraph(3);
  const gradients = differentiate(loss, trainable.map(weight));
  return makePlan(graph, { loss, ...Object.fromEntries(trainable.map((name, i) => [`d${name}`, gradients[i]!])) });
}

const block1 = Object.keys(blockWeights).map((module) => `1.${module}`);

/** Steps after the forward pass, which ends with the sum of the losses. */
function backwardOf(plan: Plan, scope: string | null): Step[] {
  const end = plan.steps.findIndex((s) => s.op === "sum");
  return plan.steps.slice(end + 1).filter((s) => s.scope === scope);
}

const weightsOf = (plan: Plan, { inputs }: Step) =>
  inputs.flatMap(({ place }) => (place.in === "persistent" ? [plan.persistent[place.index]!.name] : []));

const products = (steps: readonly Step[]) => steps.filter((s) => s.op === "matmul");

describe("with only block 1 of 0, 1, 2 trainable", () => {
  const plan = planOf(block1);

  it("nothing of block 0 or of the embedding is differentiated", () => {
    expect(backwardOf(plan, "block.0")).toEqual([]);
    expect(plan.steps.map((s) => s.op)).not.toContain("embedding_backward");
  });

  it("block 2, frozen, passes gradients on through its seven products, each with a weight, and gets none itself", () => {
    const steps = backwardOf(plan, "block.2");
    const read = products(steps).map((s) => weightsOf(plan, s));
    expect(read.every((names) => names.length === 1)).toBe(true); // a weight's gradient reads two activations
    const frozen = Object.keys(blockWeights).filter((m) => m.endsWith("_proj"));
    expect(read.flat().toSorted()).toEqual(frozen.map((m) => `2.${m}`).toSorted());
    expect(steps.map((s) => s.op)).not.toContain("rmsnorm_backward_weight");
  });

  it("block 1 gets its nine gradients, and its input gets none", () => {
    const steps = backwardOf(plan, "block.1");
    const weightGradients = products(steps).filter((s) => weightsOf(plan, s).length === 0);
    expect(weightGradients.length).toBe(7);
    expect(steps.filter((s) => s.op === "rmsnorm_backward_weight").length).toBe(2);
    // Of the two norms only the second, inside the block, has an input to pass a gradient to.
    expect(steps.filter((s) => s.op === "rmsnorm_backward_input").length).toBe(1);
  });

  it("the LM head gets no gradient, its input does; the final norm's weight neither", () => {
    const steps = backwardOf(plan, null);
    const head = steps.filter((s) => s.op === "lm_head_loss_backward");
    expect(head.map((s) => s.attrs)).toEqual([{ hidden: true, weight: false }]);
    expect(steps.map((s) => s.op)).not.toContain("rmsnorm_backward_weight");
  });

  it("model FLOPs equal the formula", () => {
    const N = B * T;
    const block = 2 * N * D * (2 * H * E + 2 * K * E + 3 * F); // products with weights
    const scores = (2 * (2 * B * H * E * (T * T))) / 2; // q·kᵀ and p·v over half of T²
    const head = 2 * N * D * V;
    const forward = 3 * (block + scores) + head;
    const toActivations = head + 2 * (block + 2 * scores); // down to the input norm of block 1, whose weight is trained
    expect(planCost(plan).modelFlops).toBe(forward + toActivations + block);
  });
});

/** [2, 1], each element the sum of x. */
const broadcastSum = (x: Tensor) => x.graph.apply("broadcast", [sum(x)], { d0: 2, d1: 1 })[0]!;

describe("differentiate", () => {
  it.each([
    ["one block", block1, false],
    ["one block, the others recomputed", block1, true],
    ["q_proj alone", ["1.q_proj"], true],
    ["the embedding", ["embed"], false],
  ] as const)("emits no node that the gradients of %s do not need", (_, trainable, recompute) => {
    const { graph, loss, weight } = llamaGraph(3);
    const gradients = differentiate(loss, trainable.map(weight), { recompute: () => recompute });
    const plan = makePlan(graph, { loss, ...Object.fromEntries(gradients.map((t, i) => [trainable[i]!, t!])) });
    expect(plan.steps.length).toBe(graph.nodes.length); // planning leaves out what is dead
  });

  it("is not stopped by an op without gradient that no trainable tensor lies behind", () => {
    const g = new Graph();
    const [w, frozen] = [g.parameter("w", [1]), g.parameter("frozen", [5])];
    const [dw] = differentiate(sum(add(w, sumOfSquares(frozen))), [w]);
    expect(dw!.shape).toEqual([1]);
  });

  it("goes no further than the one weight wanted: q_proj's gradient needs no other product in its block", () => {
    const plan = planOf(["1.q_proj"]);
    const read = products(backwardOf(plan, "block.1")).map((s) => weightsOf(plan, s));
    // Back through the MLP and o_proj, then q_proj's own gradient; not through k_proj, v_proj or q_proj to the input.
    const passed = ["1.down_proj", "1.gate_proj", "1.o_proj", "1.up_proj"];
    expect(
      read
        .filter((names) => names.length > 0)
        .flat()
        .toSorted(),
    ).toEqual(passed);
    expect(read.filter((names) => names.length === 0).length).toBe(1);
  });

  it("only of the head stops at the head", () => {
    const plan = planOf(["head"]);
    const ops = [null, "block.0", "block.1", "block.2"].flatMap((scope) => backwardOf(plan, scope).map((s) => s.op));
    expect(ops).toEqual(["fill", "broadcast", "lm_head_loss_backward"]);
    expect(plan.steps.at(-1)!.attrs).toEqual({ hidden: false, weight: true });
  });

  it("gives undefined for what the loss does not depend on", () => {
    const g = new Graph();
    const [a, b] = [g.parameter("a", [2, 2]), g.parameter("b", [2, 2])];
    const gradients = differentiate(sum(matmul(a, a)), [a, b]);
    expect(gradients.map((t) => t?.shape)).toEqual([[2, 2], undefined]);
  });

  it("adds up the gradients of a tensor that one op takes as [2, 3, 2] and another as [6, 2]", async () => {
    const g = new Graph();
    const x = g.parameter("x", [2, 3, 2]);
    const r = g.parameter("r", [6, 1]);
    const loss = sum(add(matmul(x, r, { transposeA: true }), broadcastSum(x)));
    const [dx] = differentiate(loss, [x]);
    const values = { x: new Float32Array(12).fill(1), r: Float32Array.of(1, 2, 3, 4, 5, 6) };
    const { program } = await compile(g, { dx: dx! }, values);
    await program.run();
    // loss = Σ_n r_n Σ_d x_nd + 2 Σ x, so that dx_nd = r_n + 2
    expect([...(await program.read("dx"))]).toEqual([3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8]);
  });

  it("of the loss itself is 1", () => {
    const g = new Graph();
    const loss = sum(g.parameter("a", [3]));
    const [dloss] = differentiate(loss, [loss]);
    expect(dloss!.producer).toMatchObject({ op: "fill", attrs: { value: 1 } });
  });

  it("rejects a loss that reaches a trainable tensor only through an op without gradient, and names it", () => {
    const g = new Graph();
    const a = g.parameter("a", [4]);
    expect(() => differentiate(sumOfSquares(a), [a])).toThrow(
      "sum_of_squares has no gradient, but a trainable tensor is reached only through it",
    );
  });

  it("rejects attention over a cache", () => {
    const g = new Graph();
    const [q, cache] = [g.parameter("q", [1, 1, 4]), g.state("cache", [1, 8, 4])];
    const offset = g.input("offset", [1], "i32");
    const o = attention(q, cache, cache, { heads: 1, kvHeads: 1, scale: 1, offset });
    expect(() => differentiate(sum(o), [q])).toThrow("attention over a cache has no gradient");
  });
});

describe("makePlan", () => {
  it("leaves out nodes that lead to no output and change no state", () => {
    const g = new Graph();
    const a = g.parameter("a", [2, 2]);
    const kept = matmul(a, a);
    add(matmul(kept, a), a); // nobody reads it
    const plan = makePlan(g, { kept });
    expect(plan.steps.map((s) => s.op)).toEqual(["matmul"]);
    expect(plan.arenaBytes).toBe(256);
  });

  it("names only the parameters that the steps left read", () => {
    const g = new Graph();
    const [a, b] = [g.parameter("a", [2, 2]), g.parameter("b", [2, 2])];
    add(a, b);
    expect(makePlan(g, { y: matmul(a, a) }).persistent).toEqual([
      { name: "a", role: "parameter", shape: [2, 2], dtype: "f32" },
    ]);
  });

  it("frees each range once, after its last reader, and outputs never", () => {
    const g = new Graph();
    const a = g.parameter("a", [8, 8]); // 256 bytes
    const b = matmul(a, a);
    const c = add(b, a);
    const d = add(b, c); // last reader of b and c
    const e = add(d, d);
    const plan = makePlan(g, { c: e });
    const at = (i: number) => (plan.steps[i]!.outputs[0]!.place as { offset: number }).offset;
    expect(plan.steps.map((s) => s.frees)).toEqual([
      [],
      [],
      [
        [at(0), 256],
        [at(1), 256],
      ],
      [[at(2), 256]],
    ]);
  });

  it("is plain data: it survives JSON", () => {
    const plan = planOf(["head"]);
    expect(JSON.parse(JSON.stringify(plan))).toEqual(plan);
  });

  it("refuses a parameter as output", () => {
    const g = new Graph();
    expect(() => makePlan(g, { a: g.parameter("a", [2]) })).toThrow(
      "output 'a' is a parameter: read it where it is kept",
    );
  });
});
