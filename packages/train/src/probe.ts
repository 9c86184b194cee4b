import { forwardInputs, writeWeight } from "@slayer/model";
import type { NamedType } from "@slayer/optim";
import {
  accumulate,
  type Backend,
  type DType,
  Graph,
  matmul,
  type Plan,
  planCost,
  Program,
  Store,
  type Step,
  type Tensor,
} from "@slayer/tensor";
import { cutDown } from "./cut-down.js";
import type { Geometry } from "./model.js";
import { RankAllocator } from "./rank-allocator.js";
import type { Recipe } from "./recipe.js";
import { type Precision, setUp, type Setup, type StepShape } from "./setup.js";

/** What a device does, measured in a moment. */
export interface Probe {
  /** The fastest matrix product in the type of the run's activations, FLOP/s: what MFU counts against. */
  readonly peakFlops: number;
  /** Bytes per second, read and written ones both counted, when one long range of device memory is added to another. */
  readonly bandwidth: number;
  /** Seconds that a plan of this run will take. */
  seconds(plan: Plan): number;
  /** Seconds of an update that moves so many bytes. */
  updateSeconds(bytes: number): number;
}

/** Nothing is timed for less. */
const LEAST_MS = 2;
/** The best of so many: other work on the machine only ever adds. */
const REPEATS = 5;
/** What one step of the cut-down model may take, going by the rate of matrix products. */
const STEP_SECONDS = 0.1;

/**
 * Measures a backend for a run: the rate of matrix products, the bandwidth of memory, and, on the run's own step cut down to what
 * a moment allows, the rate of every kind of kernel in it.
 */
export async function probe(
  recipe: Recipe,
  model: Geometry,
  backend: Backend,
  shape: StepShape,
  precision: Precision,
): Promise<Probe> {
  const peakFlops = await measureMatmul(backend, precision.activations);
  const bandwidth = await measureBandwidth(backend);
  const small = cutDown(model, shape, peakFlops * STEP_SECONDS);
  const plain = { ...recipe, optimizer: { ...recipe.optimizer, groups: undefined } };
  const setup = await setUp(plain, small.model, backend, small.shape, precision);
  try {
    await fill(setup.store, small.model.parameters);
    const rates = await measureKinds(setup, small.model);
    const adapter = recipe.adapter && { ...recipe.adapter, tinit: 0, tfinal: 0 };
    const allocator = await RankAllocator.of(adapter, setup.optimizer, small.model.config, 2);
    const updateRate = await measureUpdate(setup, allocator);
    const fallback = ({ cost }: Step) => (cost.matmulFlops > 0 ? peakFlops : bandwidth);
    return {
      peakFlops,
      bandwidth,
      seconds: (plan) =>
        plan.steps.reduce((s, step) => s + work(step) / (rates.get(kindOf(step)) ?? fallback(step)), 0),
      updateSeconds: (bytes) => bytes / updateRate,
    };
  } finally {
    setup.program.free();
    setup.optimizer.free();
    setup.store.free();
  }
}

/** Bytes that one update of the optimizer moves at least. */
export function updateBytes({ optimizer }: Pick<Setup, "optimizer">): number {
  return optimizer.plans.reduce((sum, plan) => sum + planCost(plan).bytes, 0);
}

/** Kernels that differ only in extents go at one rate. */
function kindOf({ op, attrs, inputs }: Step): string {
  const flags = Object.entries(attrs).filter(([, value]) => typeof value === "boolean");
  return JSON.stringify([op, flags, inputs.map(({ dtype }) => dtype)]);
}

/** What a kernel's time goes by: arithmetic where there are matrix products in it, bytes elsewhere. */
function work({ cost }: Step): number {
  return cost.matmulFlops > 0 ? cost.flops : cost.bytes;
}

async function measureKinds({ program, shape, precision }: Setup, { config }: Geometry): Promise<Map<string, number>> {
  const tokens = shape.batch * shape.length;
  const options = { ...shape, dtype: precision.activations, segmentIds: new Int32Array(tokens) };
  const inputs = { ...forwardInputs(config, new Int32Array(tokens), options), targets: new Int32Array(tokens) };
  await program.run(inputs);
  const byKind = new Map<string, Step[]>();
  for (const step of program.plan.steps) byKind.set(kindOf(step), [...(byKind.get(kindOf(step)) ?? []), step]);
  const times = new Map<string, number>();
  for (const [kind, steps] of byKind) {
    const part = await program.part(steps);
    times.set(kind, await bestOf(() => part.run()));
  }
  // In their order kernels find less in the caches than alone.
  const whole = await bestOf(() => program.run());
  const apart = [...times.values()].reduce((a, b) => a + b, 0);
  const rates = new Map<string, number>();
  for (const [kind, steps] of byKind) {
    const seconds = (times.get(kind)! * whole) / apart;
    rates.set(kind, steps.reduce((sum, step) => sum + work(step), 0) / seconds);
  }
  return rates;
}

/** Bytes per second. */
async function measureUpdate({ optimizer }: Setup, allocator: RankAllocator | undefined): Promise<number> {
  const update = async () => {
    await allocator?.regularise(1);
    await optimizer.step(0, 1e-6, 1);
    await allocator?.allocate(1);
  };
  return updateBytes({ optimizer }) / (await bestOf(update));
}

/** FLOP/s: the best of squares that grow while a moment allows. */
async function measureMatmul(backend: Backend, dtype: DType): Promise<number> {
  let best = 0;
  for (const n of [256, 512, 1024, 2048, 4096, 8192]) {
    const graph = new Graph();
    const types = ["a", "b"].map((name) => ({ name, shape: [n, n], dtype }));
    const [a, b] = types.map(({ name, shape }) => graph.state(name, shape, dtype));
    const { seconds } = await timed(backend, types, graph, { c: matmul(a!, b!, { transposeB: true }) });
    best = Math.max(best, (2 * n ** 3) / seconds);
    if (8 * seconds > 0.05) break;
  }
  return best;
}

async function measureBandwidth(backend: Backend): Promise<number> {
  const length = 2 ** 23; // 32 MiB: beyond most caches
  const graph = new Graph();
  const types = ["from", "to"].map((name): NamedType => ({ name, shape: [length], dtype: "f32" }));
  accumulate(graph.state("to", [length]), graph.state("from", [length]));
  const { plan, seconds } = await timed(backend, types, graph, {});
  return planCost(plan).bytes / seconds;
}

/** Seconds of a program over state of these types, of which nothing stays. */
async function timed(backend: Backend, types: readonly NamedType[], graph: Graph, outputs: Record<string, Tensor>) {
  const store = new Store(backend);
  try {
    for (const type of types) store.add(type);
    await fill(store, types); // untouched memory may be no memory yet
    const program = await Program.compile(graph, outputs, store);
    const seconds = await bestOf(() => program.run());
    program.free();
    return { plan: program.plan, seconds };
  } finally {
    store.free();
  }
}

/** Numbers that are not all the same, so that nothing is faster than in earnest. */
async function fill(store: Store, types: readonly NamedType[]): Promise<void> {
  for (const { name, shape } of types) {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1));
    const tile = values.subarray(0, 1021).map((_, i) => Math.sin(i) / 16);
    for (let at = 0; at < values.length; at += tile.length) values.set(tile.subarray(0, values.length - at), at);
    await writeWeight(store, name, shape, values);
  }
}

/** Seconds of one call. */
async function bestOf(call: () => Promise<unknown>): Promise<number> {
  let best = Infinity;
  await call();
  for (let i = 0; i < REPEATS; i++) {
    const start = performance.now();
    let calls = 0;
    do {
      await call();
      calls++;
    } while (performance.now() - start < LEAST_MS);
    best = Math.min(best, (performance.now() - start) / calls);
  }
  return best / 1000;
}
