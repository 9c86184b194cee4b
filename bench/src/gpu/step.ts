import { expectedTensors, type ModelConfig } from "@slayer/checkpoint";
import { forward, forwardInputs } from "@slayer/model";
import {
  adamw,
  type Backend,
  clipFactor,
  copy,
  decode,
  differentiate,
  Graph,
  lmHeadLoss,
  type Plan,
  planCost,
  Program,
  size,
  Store,
  sum,
  sumOfSquares,
  type Tensor,
} from "@slayer/tensor";
import { median } from "../statistics.js";
import { repeated } from "./random.js";

export interface StepOptions {
  readonly config: ModelConfig;
  /** Indices of the blocks that are trained; the rest is frozen. */
  readonly trained: readonly number[];
  readonly batch: number;
  readonly length: number;
  readonly recompute: boolean;
  readonly steps: number;
  /** Whether trained weights are bf16 alone, each update rounded stochastically, instead of copies of f32 masters. */
  readonly stochastic?: boolean;
  /** Of weights and activations; bf16 unless given. */
  readonly dtype?: "bf16" | "f32";
  /** Bytes of the device's memory that are in use. */
  readonly memoryInUse?: () => number | undefined;
}

export interface StepResult {
  readonly tokensPerSecond: number;
  readonly secondsPerStep: number;
  /** FLOPs of one step as MFU counts them, from the plan. */
  readonly modelFlops: number;
  /** Everything allocated: weights, masters, gradients, moments, intermediates, and the workspace of kernels. */
  readonly plannedBytes: number;
  /** What `memoryInUse` said once all had run, less what it said before anything was allocated. */
  readonly usedBytes: number | undefined;
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  /** The forward and backward pass, and the update. */
  readonly plans: readonly Plan[];
}

const gradientOf = (name: string) => `gradient.of.${name}`;

/**
 * Continued pre-training of some blocks of a model with random weights: bf16 weights and activations, f32 sums, masters, gradients and
 * moments; AdamW with clipping. The same tokens each step, so that the loss must fall.
 */
export async function trainSteps(backend: Backend, options: StepOptions): Promise<StepResult> {
  const { config, trained, batch, length, recompute, steps, stochastic = false, dtype = "bf16", memoryInUse } = options;
  const before = memoryInUse?.();
  const store = new Store(backend);
  const isTrained = (name: string) => trained.some((l) => name.startsWith(`model.layers.${l}.`));
  const tensors = [...expectedTensors(config)].map(([name, shape]) => ({ name, shape: [...shape] }));
  const trainable = tensors.filter(({ name }) => isTrained(name));

  const n = store.addRange(
    trainable.map((t) => ({ ...t, dtype })),
    "working",
  );
  if (!stochastic) store.add({ name: "master", shape: [n], dtype: "f32" });
  store.addRange(
    trainable.map(({ name, shape }) => ({ name: gradientOf(name), shape, dtype: "f32" as const })),
    "gradient",
  );
  for (const name of ["m", "v"]) store.add({ name, shape: [n], dtype: "f32" });
  const random = randomBits(Math.max(...tensors.map(({ shape }) => size(shape))));
  for (const { name, shape } of tensors) {
    if (!isTrained(name)) store.add({ name, shape, dtype });
    // Norms are 1, matrices as Llama's are initialised.
    const bits = shape.length === 1 ? new Uint16Array(size(shape)).fill(0x3f80) : random(size(shape));
    const bytes = new Uint8Array(bits.buffer, bits.byteOffset, bits.byteLength);
    await store.write(name, dtype === "bf16" ? bits : decode(bytes, "bf16", bits.length));
  }

  const micro = new Graph();
  const { final, head } = forward(micro, config, { batch, length, dtype });
  const loss = sum(lmHeadLoss(final, head, micro.input("targets", [batch, length], "i32")));
  const parameters = trainable.map(({ name }) => micro.persistent.get(name)!);
  differentiate(loss, parameters, { recompute: () => recompute }).forEach((gradient, i) => {
    const { name, shape } = trainable[i]!;
    if (gradient) copy(micro.state(gradientOf(name), shape, "f32"), gradient);
  });
  const program = await Program.compile(micro, { loss }, store);
  const update = await Program.compile(...recordUpdate(n, dtype, stochastic), store);
  if (!stochastic) {
    const masters = await Program.compile(...recordMasters(n, dtype), store);
    await masters.run();
    masters.free();
  }

  const tokens = Int32Array.from({ length: batch * length + 1 }, (_, i) => (i * 7919) % config.vocabSize);
  const inputs = {
    ...forwardInputs(config, tokens.slice(0, -1), { batch, length, dtype }),
    targets: tokens.slice(1),
  };
  const [losses, norms, times]: [number[], number[], number[]] = [[], [], []];
  for (let step = 0; step < steps; step++) {
    const start = performance.now();
    await program.run(inputs);
    const values = [1e-4, 1 - 0.9 ** (step + 1), 1 - 0.95 ** (step + 1), ...(stochastic ? [step + 1] : [])];
    await update.run({ step: Float32Array.from(values), scale: Float32Array.of(1 / (batch * length)) });
    times.push((performance.now() - start) / 1000);
    losses.push((await program.read("loss"))[0]! / (batch * length));
    norms.push((await update.read("norm"))[0]!);
  }
  const secondsPerStep = median(times.slice(1));
  const plans = [program.plan, update.plan];
  const plannedBytes = plans.reduce(
    (total, plan) => total + plan.arenaBytes + plan.inputBytes + (backend.workspaceBytes?.(plan) ?? 0),
    store.bytes,
  );
  const after = memoryInUse?.();
  const usedBytes = before === undefined || after === undefined ? undefined : after - before;
  const modelFlops = planCost(program.plan).modelFlops;
  program.free();
  update.free();
  store.free();
  return {
    tokensPerSecond: (batch * length) / secondsPerStep,
    secondsPerStep,
    modelFlops,
    plannedBytes,
    usedBytes,
    losses,
    norms,
    plans,
  };
}

/** Clip, AdamW on the masters, round them into the working copies; or on these alone. The next gradients take the place of these. */
function recordUpdate(n: number, dtype: "bf16" | "f32", stochastic: boolean): [Graph, Record<string, Tensor>] {
  const graph = new Graph();
  const gradient = graph.state("gradient", [n]);
  const { norm, factor } = clipFactor(sumOfSquares(gradient), graph.input("scale", [1], "f32"), 1);
  const working = graph.state("working", [n], dtype);
  const parameter = stochastic ? working : graph.state("master", [n]);
  const [m, v] = [graph.state("m", [n]), graph.state("v", [n])];
  const step = graph.input("step", [stochastic ? 4 : 3], "f32");
  const copied = dtype === "bf16" && !stochastic ? { working } : {};
  const options = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, ...(stochastic && { seed: 1 }) };
  adamw({ parameter, gradient, m, v, factor, step, ...copied }, options);
  if (dtype === "f32") copy(working, parameter);
  return [graph, { norm }];
}

/** The masters begin as what the working copies hold. */
function recordMasters(n: number, dtype: "bf16" | "f32"): [Graph, Record<string, Tensor>] {
  const graph = new Graph();
  copy(graph.state("master", [n]), graph.state("working", [n], dtype));
  return [graph, {}];
}

/**
 * Random bf16 numbers of standard deviation 0.02: each call returns a stretch of one long sequence, another each time, the same ones
 * for each model.
 */
function randomBits(longest: number): (length: number) => Uint16Array {
  const slack = 1 << 16;
  const pool = new Uint16Array(repeated("bf16", longest + slack, 0.02).buffer);
  let turn = 0;
  return (length) => {
    const from = (turn++ * 7919) % slack;
    return pool.subarray(from, from + length);
  };
}
