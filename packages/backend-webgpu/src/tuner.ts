import {
  type Bindings,
  encode,
  Graph,
  makePlan,
  matmul,
  type Operand,
  type Plan,
  type TuningStore,
} from "@slayer/tensor";
import matmulKernel from "../../../kernels/matmul/matmul.wgsl";
import matrixKernel from "../../../kernels/matmul/matmul_matrix.wgsl";
import packKernel from "../../../kernels/matmul/matmul_pack.wgsl";
import rowsKernel from "../../../kernels/matmul/matmul_rows.wgsl";
import { prepareExecutable } from "./executable.js";
import { failure } from "./errors.js";
import { lower } from "./lower/index.js";
import { type DeviceTraits, LoweringError } from "./lowering.js";
import { readBuffer, WebgpuBuffer, writeBuffer } from "./memory.js";
import type { Pipelines } from "./pipelines.js";
import { ExactProduct } from "./product-check.js";
import { submit } from "./submit.js";
import { workDone } from "./wait.js";
import { candidates, classOf, type ProductShape, typical, type Variant, variants } from "./variants.js";

/** Products in one measurement: enough that starting them does not count. */
const PRODUCTS = 4;
const REPEATS = 3;

/** Chooses among the variants of a matrix product by measuring them, those whose products are right, once per class of shapes, adapter, driver and shader text. */
export class Tuner {
  readonly #chosen = new Map<string, Variant>();
  readonly #device: GPUDevice;
  readonly #pipelines: Pipelines;
  readonly #store: TuningStore;
  readonly #key: string;

  private constructor(device: GPUDevice, pipelines: Pipelines, store: TuningStore, key: string) {
    this.#device = device;
    this.#pipelines = pipelines;
    this.#store = store;
    this.#key = key;
  }

  static async open(device: GPUDevice, pipelines: Pipelines, store: TuningStore, adapter: string): Promise<Tuner> {
    const text = [matmulKernel, matrixKernel, packKernel, rowsKernel].flatMap(({ lines }) => lines).join("\n");
    const tuner = new Tuner(device, pipelines, store, `${adapter} ${hash(text)}`);
    for (const [name, variant] of parse(await store.load(tuner.#key))) tuner.#chosen.set(name, variant);
    return tuner;
  }

  choose(shape: ProductShape): Variant | undefined {
    return this.#chosen.get(classOf(shape));
  }

  /** Measures what the plan needs and was not measured before. */
  async learn(plan: Plan, traits: DeviceTraits): Promise<void> {
    const wanted = new Map<string, ProductShape>();
    const variant = (shape: ProductShape): Variant => {
      if (this.choose(shape) === undefined) wanted.set(classOf(shape), typical(shape));
      return candidates(shape, traits)[0]!;
    };
    for (const step of plan.steps) {
      try {
        lower(step, { ...traits, variant });
      } catch (error) {
        if (!(error instanceof LoweringError)) throw error; // `prepare` says what cannot be run
      }
    }
    for (const [name, shape] of wanted) this.#chosen.set(name, await this.#fastest(shape, traits));
    if (wanted.size > 0) await this.#store.save(this.#key, JSON.stringify(Object.fromEntries(this.#chosen)));
  }

  async #fastest(shape: ProductShape, traits: DeviceTraits): Promise<Variant> {
    const options = candidates(shape, traits);
    if (options.length === 1) return options[0]!;
    const product = new ExactProduct(shape);
    let best = options[0]!;
    let least = Infinity;
    for (const option of options) {
      const seconds = await this.#measure(shape, product, { ...traits, variant: () => option });
      if (seconds !== undefined && seconds < least) [best, least] = [option, seconds];
    }
    if (least === Infinity) throw failure(`this device computes products wrongly, ${classOf(shape)}, in every way`);
    return best;
  }

  /** Seconds for a few products of this shape, the least of some runs; undefined if one of them is wrong. */
  async #measure(shape: ProductShape, product: ExactProduct, traits: DeviceTraits): Promise<number | undefined> {
    const { m, n, k, ...types } = shape;
    const graph = new Graph();
    const { transposeA, transposeB } = types;
    const a = graph.input("a", transposeA ? [k, m] : [m, k], types.bf16A ? "bf16" : "f32");
    const b = graph.input("b", transposeB ? [n, k] : [k, n], types.bf16B ? "bf16" : "f32");
    const results = Array.from({ length: PRODUCTS }, (_, i) => {
      return [`c${i}`, matmul(a, b, { transposeA, transposeB, f32: types.bf16A })] as const;
    });
    const plan = makePlan(graph, Object.fromEntries(results));
    const [arena, inputs] = [plan.arenaBytes, plan.inputBytes].map((bytes) => new WebgpuBuffer(this.#device, bytes));
    const bindings: Bindings = { arena: arena!, inputs: inputs!, persistent: [] };
    try {
      for (const [name, bf16] of [["a", types.bf16A] as const, ["b", types.bf16B] as const]) {
        const data = encode(product[name], bf16 ? "bf16" : "f32");
        await writeBuffer(this.#device, inputs!, offsetOf(plan.inputs[name]!), data);
      }
      const { batches } = await prepareExecutable(this.#device, traits, this.#pipelines, plan, bindings);
      let least = Infinity;
      for (let i = 0; i <= REPEATS; i++) {
        const start = performance.now();
        for (const batch of batches) submit(this.#device, batch.commands);
        await workDone(this.#device.queue.onSubmittedWorkDone(), traits.software);
        if (i > 0) least = Math.min(least, (performance.now() - start) / 1000); // the first one warms up
      }
      const bytes = await readBuffer(this.#device, arena!, offsetOf(plan.outputs[results.at(-1)![0]]!), 4 * m * n);
      if (!product.is(new Float32Array(bytes.buffer))) return undefined;
      return least;
    } finally {
      arena!.destroy();
      inputs!.destroy();
    }
  }
}

function offsetOf({ place }: Operand): number {
  if (place.in === "persistent") throw new Error("neither an input nor an intermediate");
  return place.offset;
}

function parse(text: string | undefined): [string, Variant][] {
  if (text === undefined) return [];
  try {
    const found = Object.entries(JSON.parse(text) as Record<string, unknown>);
    return found.flatMap(([name, value]) =>
      variants.filter((v) => v === value).map((v) => [name, v] as [string, Variant]),
    );
  } catch {
    return [];
  }
}

/** FNV-1a, in hexadecimal: another text, another hash, in all likelihood. */
function hash(text: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return (h >>> 0).toString(16).padStart(8, "0");
}
