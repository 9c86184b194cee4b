import {
  accumulate,
  add,
  createReferenceBackend,
  differentiate,
  fill,
  fusedOps,
  Graph,
  type Kernel,
  makePlan,
  matmul,
  type OpName,
  planMemoryOf,
  Program,
  rmsnorm,
  size,
  Store,
  sum,
  swiglu,
  type Tensor,
} from "@slayer/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compile, relativeError } from "./helpers.js";
import { inputsOf } from "./llama-graph.js";
import { buildRandomGraph, recipes } from "./random-graph.js";

const all = ({ op }: Kernel) => fusedOps.includes(op);
const opsOf = (graph: Graph, outputs: Record<string, Tensor>, can = all) =>
  makePlan(graph, outputs, can).steps.map(({ op }) => op);

/** A block's feed-forward with its norm and residual, and what trains it: x [T, D], norm [D], gate and up [F, D], down [D, F]. */
function feedForward(dtype: "f32" | "f64" = "f64") {
  const [T, D, F] = [6, 8, 12];
  const graph = new Graph();
  const x = graph.parameter("x", [T, D], dtype);
  const weight = (name: string, shape: number[]) => graph.parameter(name, shape, dtype);
  const [norm, g, u, down] = [
    weight("norm", [D]),
    weight("gate", [F, D]),
    weight("up", [F, D]),
    weight("down", [D, F]),
  ];
  const linear = (a: Tensor, w: Tensor) => matmul(a, w, { transposeB: true });
  const h = rmsnorm(x, norm, 1e-5);
  const y = add(x, linear(swiglu(linear(h, g), linear(h, u)), down));
  const parameters = [x, norm, g, u, down];
  return { graph, y, parameters, shapes: { x: [T, D], norm: [D], gate: [F, D], up: [F, D], down: [D, F] }, dtype };
}

/** … with gradients of Σ y accumulated beside the parameters. */
function training() {
  const made = feedForward();
  const { graph, y, parameters, dtype } = made;
  differentiate(sum(y), parameters).forEach((gradient, i) => {
    const { name, shape } = parameters[i]!;
    accumulate(graph.state(`d.${name}`, shape, dtype), gradient!);
  });
  return made;
}

/** The gradient dx of a norm's x [4, 8] behind a product c of the same shape; x is state. */
function normGradient() {
  const graph = new Graph();
  const [dy, x] = [graph.input("dy", [4, 8], "f32"), graph.state("x", [4, 8])];
  const c = matmul(dy, graph.parameter("square", [8, 8]));
  const dx = graph.apply("rmsnorm_backward_input", [
    dy,
    x,
    graph.parameter("w", [8]),
    graph.input("r", [4], "f32"),
  ])[0]!;
  return { graph, dy, x, c, dx };
}

describe("fusion", () => {
  it("puts SwiGLU, the residual and gradients of weights together with their products", () => {
    const { graph, y } = feedForward();
    expect(opsOf(graph, { y }, () => false)).toEqual(["rmsnorm", "matmul", "matmul", "swiglu", "matmul", "add"]);
    expect(opsOf(graph, { y })).toEqual(["rmsnorm", "matmul_swiglu", "matmul_add"]);
    const trained = training();
    const steps = makePlan(trained.graph, { y: trained.y }, all).steps;
    const count = (op: OpName) => steps.filter((step) => step.op === op).length;
    const counted: OpName[] = ["matmul_swiglu", "matmul_accumulate", "swiglu", "matmul", "add"];
    // Products left: the gradients of what the last one reads, and of one of SwiGLU's sides.
    expect(counted.map(count)).toEqual([1, 3, 0, 2, 0]);
    // The backward pass reads both products.
    expect(steps[1]!.outputs.length).toBe(3);
  });

  it("only where the backend says so", () => {
    const { graph, y } = feedForward();
    const only = (fused: OpName) => opsOf(graph, { y }, ({ op }) => op === fused);
    expect(only("matmul_add")).toEqual(["rmsnorm", "matmul", "matmul", "swiglu", "matmul_add"]);
    expect(only("matmul_swiglu")).toEqual(["rmsnorm", "matmul_swiglu", "matmul", "add"]);
  });

  it("leaves what others read, outputs of the plan, and what changes in between", () => {
    const graph = new Graph();
    const [a, b] = [graph.input("a", [4, 4], "f32"), graph.parameter("b", [4, 4])];
    const product = matmul(a, b);
    expect(opsOf(graph, { y: add(a, product), product })).toEqual(["matmul", "add"]);
    expect(opsOf(graph, { y: add(product, product) })).toEqual(["matmul", "add"]);
    const other = new Graph();
    const [x, w, state] = [other.input("a", [4, 4], "f32"), other.parameter("b", [4, 4]), other.state("c", [4, 4])];
    const early = matmul(x, w);
    const before = add(state, x); // reads the state before it changes
    accumulate(state, early);
    expect(opsOf(other, { before })).toEqual(["matmul", "add", "accumulate"]);
    const last = new Graph();
    const [p, q, s] = [last.input("a", [4, 4], "f32"), last.parameter("b", [4, 4]), last.state("c", [4, 4])];
    const made = matmul(p, q);
    accumulate(s, p); // the addend changes after the product
    expect(opsOf(last, { y: add(s, made) })).toEqual(["matmul", "accumulate", "add"]);
  });

  it("of two products, the later takes the other's result", () => {
    const graph = new Graph();
    const [x, w, v] = [graph.input("x", [4, 4], "f32"), graph.parameter("w", [4, 4]), graph.parameter("v", [4, 4])];
    const [first, second] = [matmul(x, w), matmul(x, v)];
    const { steps } = makePlan(graph, { y: add(second, first) }, all);
    expect(steps.map(({ op }) => op)).toEqual(["matmul", "matmul_add"]);
    expect(steps[1]!.inputs[2]!.place).toEqual(steps[0]!.outputs[0]!.place);
  });

  it("a norm's gradient takes the gradient that passes by, whichever side of the sum that is", () => {
    for (const turned of [false, true]) {
      const { graph, dx, c } = normGradient();
      const { steps } = makePlan(graph, { y: turned ? add(dx, c) : add(c, dx) }, all);
      expect(steps.map(({ op }) => op)).toEqual(["matmul", "rmsnorm_backward_input_add"]);
      expect(steps[1]!.inputs.at(-1)!.place).toEqual(steps[0]!.outputs[0]!.place);
    }
  });

  it("… not where others read it, or the sum's other side is not there yet, changes, or is itself", () => {
    const apart = ["matmul", "rmsnorm_backward_input", "add"];
    const read = normGradient();
    expect(opsOf(read.graph, { y: add(read.c, read.dx), dx: read.dx })).toEqual(apart);
    const twice = normGradient();
    expect(opsOf(twice.graph, { y: add(twice.dx, twice.dx) })).toEqual(apart.slice(1));
    const late = normGradient();
    const after = swiglu(late.x, late.x);
    expect(opsOf(late.graph, { y: add(after, late.dx) })).toEqual(["rmsnorm_backward_input", "swiglu", "add"]);
    const changing = normGradient();
    accumulate(changing.x, changing.dy);
    const y = add(changing.x, changing.dx);
    expect(opsOf(changing.graph, { y })).toEqual(["rmsnorm_backward_input", "accumulate", "add"]);
  });

  it("of a norm's gradient and a product, the later takes the other's result", () => {
    const { graph, dy, dx } = normGradient();
    const product = matmul(dy, graph.parameter("other", [8, 8]));
    expect(opsOf(graph, { y: add(dx, product) })).toEqual(["rmsnorm_backward_input", "matmul_add"]);
  });

  it("changes no more than rounding: values and gradients equal those of the parts, relative error ≤ 1e-12 in f64", async () => {
    const backend = createReferenceBackend();
    const results = [];
    for (const fused of [undefined, fusedOps]) {
      const { graph, y, shapes, dtype } = training();
      const capabilities = { ...backend.capabilities, ...(fused && { fused }) };
      const store = new Store({ ...backend, capabilities });
      for (const [name, shape] of Object.entries(shapes)) {
        for (const kept of [name, `d.${name}`]) store.add({ name: kept, shape, dtype });
        const values = Float64Array.from({ length: size(shape) }, (_, i) => Math.sin(i * 7 + name.length));
        await store.write(name, values);
      }
      const program = await Program.compile(graph, { y }, store);
      const here = fusedOps.filter((op) => op !== "lm_head_loss_with_gradient"); // fuse-lm-head.test.ts has that
      for (const op of here) expect(program.plan.steps.some((step) => step.op === op)).toBe(fused !== undefined);
      await program.run();
      await program.run(); // gradients add up
      const gradients = await Promise.all(Object.keys(shapes).map((name) => store.read(`d.${name}`)));
      results.push([...(await program.read("y")), ...gradients.flatMap((values) => [...values])]);
    }
    const [parts, whole] = results as [number[], number[]];
    const largest = Math.max(...parts.map(Math.abs));
    expect(Math.max(...parts.map((value, i) => Math.abs(value - whole[i]!))) / largest).toBeLessThanOrEqual(1e-12);
  });

  it("… nor in 100 random graphs and their gradients, with freed ranges poisoned, relative error ≤ 1e-9 in f64", async () => {
    const backend = createReferenceBackend({ poison: true });
    const fusing = { ...backend, capabilities: { ...backend.capabilities, fused: fusedOps } };
    await fc.assert(
      fc.asyncProperty(recipes, async (recipe) => {
        const { graph, outputs, values } = buildRandomGraph({ ...recipe, dtype: "f64" });
        const programs = [
          await compile(graph, outputs, values, backend),
          await compile(graph, outputs, values, fusing),
        ];
        for (const { program } of programs) await program.run(inputsOf(graph, values));
        for (const name of Object.keys(outputs)) {
          const [parts, whole] = await Promise.all(programs.map(({ program }) => program.read(name)));
          expect(relativeError(whole!, parts!), name).toBeLessThanOrEqual(1e-9);
        }
      }),
      { numRuns: 100 },
    );
  });

  it("counts the same model FLOPs, and less traffic", () => {
    const { graph, y } = training();
    const total = (can: typeof all, what: "matmulFlops" | "bytes") =>
      makePlan(graph, { y }, can).steps.reduce((n, { cost }) => n + cost[what], 0);
    expect(total(all, "matmulFlops")).toBe(total(() => false, "matmulFlops"));
    expect(total(all, "bytes")).toBeLessThan(0.8 * total(() => false, "bytes"));
  });
});

describe("accumulation", () => {
  it("does not wait for the end of the pass: gradients of many weights take the memory of one", () => {
    const graph = new Graph();
    const one = fill(graph.input("x", [1], "f32"), [64, 64], 1);
    const gradients = Array.from({ length: 10 }, () => matmul(one, one));
    gradients.forEach((gradient, i) => accumulate(graph.state(`s${i}`, [64, 64]), gradient));
    const plan = makePlan(graph, {});
    expect(plan.steps.map(({ op }) => op)).toEqual(["fill", ...gradients.flatMap(() => ["matmul", "accumulate"])]);
    expect(planMemoryOf(plan).intermediates).toBe(2 * 64 * 64 * 4);
  });
});
