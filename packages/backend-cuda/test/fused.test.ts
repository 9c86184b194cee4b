import { createCudaBackend } from "@slayer/backend-cuda";
import {
  accumulate,
  adamw,
  add,
  type Backend,
  copy,
  createReferenceBackend,
  differentiate,
  fusedOps,
  Graph,
  lmHeadLoss,
  matmul,
  type OpName,
  Program,
  rmsnorm,
  size,
  Store,
  sum,
  swiglu,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

if (missing === undefined) Object.assign(process.env, hostEnvironment());

const shapes = {
  x: [24, 64],
  first: [64, 64],
  norm: [64],
  gate: [40, 64],
  up: [40, 64],
  down: [64, 40],
  head: [16, 64],
};

/** A SwiGLU feed-forward with norm and residual, behind a product, in bf16: y, accumulated gradients of matrices, and the plan's ops. */
async function train(backend: Backend, dtype: "bf16" | "f32" = "bf16") {
  const graph = new Graph();
  const [x, first, norm, gate, up, down, head] = Object.entries(shapes).map(([name, shape]) =>
    graph.parameter(name, shape, dtype),
  );
  const linear = (a: typeof x, w: typeof x) => matmul(a!, w!, { transposeB: true });
  const h = linear(x, first);
  const normed = rmsnorm(h, norm!, 1e-5);
  const y = add(h, linear(swiglu(linear(normed, gate), linear(normed, up)), down));
  const weights = [first!, gate!, up!, down!];
  const loss = sum(lmHeadLoss(y, head!, graph.input("targets", [24], "i32")));
  differentiate(loss, weights).forEach((gradient, i) => {
    const { name, shape } = weights[i]!;
    accumulate(graph.state(`d.${name}`, shape, "f32"), gradient!);
  });
  const store = new Store(backend);
  for (const [n, [name, shape]] of Object.entries(shapes).entries()) {
    store.add({ name, shape, dtype });
    store.add({ name: `d.${name}`, shape, dtype: "f32" });
    const length = size(shape);
    await store.write(
      name,
      Float32Array.from({ length }, (_, i) => Math.round(64 * Math.sin(i * i + n)) / 128),
    );
  }
  const program = await Program.compile(graph, { y }, store);
  for (let i = 0; i < 2; i++) await program.run({ targets: Int32Array.from({ length: 24 }, (_, j) => j % 16) });
  const values = { y: await program.read("y") };
  for (const { name } of weights) Object.assign(values, { [`d.${name}`]: await store.read(`d.${name}`) });
  return { ops: program.plan.steps.map(({ op }) => op), values: values as Record<string, Float32Array> };
}

/** Masters and their bf16 copies after two updates; the copies are AdamW's own, or made by `copy` behind it. */
async function updated(backend: Backend, n: number, apart: boolean) {
  const graph = new Graph();
  const master = graph.parameter("master", [n]);
  const working = graph.parameter("working", [n], "bf16");
  const [gradient, m, v] = ["gradient", "m", "v"].map((name) => graph.state(name, [n]));
  const scalars = { factor: graph.input("factor", [1], "f32"), step: graph.input("step", [3], "f32") };
  const operands = { parameter: master, gradient: gradient!, m: m!, v: v!, ...scalars };
  const options = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1 };
  adamw({ ...operands, ...(!apart && { working }) }, options);
  if (apart) copy(working, master);
  const store = new Store(backend);
  for (const { name, dtype } of [master, working, gradient!, m!, v!]) store.add({ name, shape: [n], dtype });
  const values = Float32Array.from({ length: n }, (_, i) => Math.sin(i * 12.9898));
  await store.write("master", values);
  await store.write("gradient", Float32Array.from(values).reverse());
  const program = await Program.compile(graph, {}, store);
  for (let i = 0; i < 2; i++)
    await program.run({ factor: Float32Array.of(0.5), step: Float32Array.of(0.02, 0.1, 0.05) });
  return { master: await store.read("master"), working: await store.read("working") };
}

describe.skipIf(missing !== undefined)(`AdamW on the host's executor${note}`, () => {
  it.each([515, 520])("its copy of %i parameters in bf16 is bit for bit what a copy behind it is", async (n) => {
    const backend = await createCudaBackend();
    expect(await updated(backend, n, false)).toEqual(await updated(backend, n, true));
    await backend.close();
  });
});

describe.skipIf(missing !== undefined)(`fused ops on the host's executor${note}`, () => {
  it("a feed-forward and its gradients are no farther from the f32 reference (RMS, relative) than made of their parts, both ≤ 2⁻⁵", async () => {
    const backend = await createCudaBackend();
    const whole = await train(backend);
    const parts = await train({ ...backend, capabilities: { ...backend.capabilities, fused: [] } });
    const wanted = await train(createReferenceBackend(), "f32");
    const fused = (ops: readonly OpName[]) => ops.filter((op) => fusedOps.includes(op)).toSorted();
    const times = (n: number, op: OpName) => Array.from({ length: n }, () => op);
    expect(fused(whole.ops)).toEqual([
      "lm_head_loss_with_gradient",
      ...times(4, "matmul_accumulate"),
      ...times(2, "matmul_add"),
      "matmul_swiglu",
      "rmsnorm_backward_input_add",
    ]);
    expect(fused(parts.ops)).toEqual([]);
    for (const [name, reference] of Object.entries(wanted.values)) {
      const rms = (f: (i: number) => number) => Math.sqrt(reference.reduce((sum, _, i) => sum + f(i) ** 2, 0));
      const [a, b] = [whole, parts].map(
        ({ values }) => rms((i) => values[name]![i]! - reference[i]!) / rms((i) => reference[i]!),
      );
      expect(a, name).toBeLessThanOrEqual(2 ** -5);
      expect(a, name).toBeLessThanOrEqual(b!);
    }
    await backend.close();
  });
});
