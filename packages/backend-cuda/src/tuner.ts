import {
  type Backend,
  BackendError,
  type Bindings,
  type Buffer,
  decode,
  DeviceLostError,
  type Executable,
  Graph,
  makePlan,
  matmul,
  type Plan,
  size,
  type TuningStore,
} from "@slayer/tensor";
import type { NativeProduct, NativeSession } from "./native.js";

/** What the tuner needs of the backend; `prepare` without tuning. */
export type Bench = Pick<Backend, "allocate" | "free" | "write" | "read" | "run"> & {
  prepare(plan: Plan, bindings: Bindings): Promise<Executable>;
};

/** A measurement lasts about this long, so that what starting costs does not count. */
const SECONDS = 0.01;
const MOST_PRODUCTS = 50;
const REPEATS = 3;
/** Largest extent that is measured; larger products go at the rate of these. */
const MOST_EXTENT = 8192;
/** Elements at either end of a result that are compared. */
const COMPARED = 2 ** 14;
/** Between two ways of summing, relative to the largest: two roundings to bf16. */
const TOLERANCE = 2 ** -6;

/**
 * Chooses among the ways to compute a matrix product by measuring them, once per class of shapes, device, driver and kernels. A way whose
 * result differs from the first one's, or that does not run, is not taken.
 */
export class Tuner {
  readonly #session: NativeSession;
  readonly #store: TuningStore;
  readonly #key: string;
  readonly #chosen: Map<string, string>;
  #last: Promise<void> = Promise.resolve();

  private constructor(session: NativeSession, store: TuningStore, key: string, chosen: Map<string, string>) {
    this.#session = session;
    this.#store = store;
    this.#key = key;
    this.#chosen = chosen;
  }

  static async open(session: NativeSession, store: TuningStore): Promise<Tuner> {
    const { name, build } = session.describe();
    const key = `cuda, ${name}, ${build}`;
    const chosen = new Map(parse(await store.load(key)));
    for (const [product, variant] of chosen) session.prefer(product, variant);
    return new Tuner(session, store, key, chosen);
  }

  /** Measures what the plan needs and was not measured before; one plan after the other. */
  learn(plan: Plan, bench: Bench): Promise<void> {
    this.#last = this.#last.catch(() => {}).then(() => this.#learn(plan, bench));
    return this.#last;
  }

  async #learn(plan: Plan, bench: Bench): Promise<void> {
    const wanted = new Map(this.#session.products(plan.steps).map((product) => [product.name, product]));
    for (const name of this.#chosen.keys()) wanted.delete(name);
    if (wanted.size === 0) return;
    for (const [name, product] of wanted) {
      const variant = await this.#fastest(product, bench);
      this.#session.prefer(name, variant ?? product.variants[0]!);
      if (variant !== undefined) this.#chosen.set(name, variant);
    }
    await this.#store.save(this.#key, JSON.stringify(Object.fromEntries(this.#chosen)));
  }

  /** Undefined where there was no memory to find out. */
  async #fastest(product: NativeProduct, bench: Bench): Promise<string | undefined> {
    let best: { variant: string; seconds: number } | undefined;
    let wanted: Float64Array | undefined;
    for (const variant of product.variants) {
      this.#session.prefer(product.name, variant);
      try {
        const { seconds, sample } = await measure(product, bench);
        wanted ??= sample;
        if (!agree(sample, wanted)) continue;
        if (best === undefined || seconds < best.seconds) best = { variant, seconds };
      } catch (error) {
        if (!(error instanceof BackendError) || error instanceof DeviceLostError) throw error;
        if (wanted === undefined) return undefined; // not even the first way runs: there is no memory
      }
    }
    return best?.variant;
  }
}

/** Seconds for one product of this class, the least of some runs, and some of its values. */
async function measure({ m, n, k, transposeA, transposeB, f32 }: NativeProduct, bench: Bench) {
  const [M, N, K] = [m, n, k].map(typical) as [number, number, number];
  const graph = new Graph();
  const a = graph.input("a", transposeA ? [K, M] : [M, K], "bf16");
  const b = graph.input("b", transposeB ? [N, K] : [K, N], "bf16");
  const plan = makePlan(graph, { c: matmul(a, b, { transposeA, transposeB, f32 }) });
  const held: Buffer[] = [];
  const allocate = (bytes: number) => {
    held.push(bench.allocate(bytes));
    return held.at(-1)!;
  };
  try {
    const bindings = { arena: allocate(plan.arenaBytes), inputs: allocate(plan.inputBytes), persistent: [] };
    for (const { shape, place } of Object.values(plan.inputs)) {
      await bench.write(bindings.inputs, place.in === "inputs" ? place.offset : 0, noise(size(shape)));
    }
    const time = async (products: number) => {
      const steps = Array.from({ length: products }, () => plan.steps[0]!);
      const executable = await bench.prepare({ ...plan, steps }, bindings);
      let least = Infinity;
      for (let i = 0; i <= REPEATS; i++) {
        const start = performance.now();
        await bench.run(executable);
        if (i > 0) least = Math.min(least, (performance.now() - start) / 1000); // the first one warms up
      }
      return least / products;
    };
    const single = await time(1);
    const products = Math.max(1, Math.min(MOST_PRODUCTS, Math.round(SECONDS / single)));
    const seconds = products === 1 ? single : await time(products);
    const bytes = f32 ? 4 : 2;
    const compared = Math.min(COMPARED, M * N);
    const part = async (from: number) =>
      decode(await bench.read(bindings.arena, from * bytes, compared * bytes), f32 ? "f32" : "bf16", compared);
    return { seconds, sample: Float64Array.of(...(await part(0)), ...(await part(M * N - compared))) };
  } finally {
    for (const buffer of held) bench.free(buffer);
  }
}

const typical = (extent: number): number => 2 ** Math.round(Math.log2(Math.min(extent, MOST_EXTENT)));

/** Numbers between −1 and 1 in bf16, a piece of prime length again and again. */
function noise(length: number): Uint16Array {
  const piece = Uint16Array.from({ length: 65_537 }, (_, i) => {
    const h = Math.imul(i + 1, 0x9e3779b1) >>> 0;
    return ((h & 1) << 15) | (0x3e00 + ((h >>> 8) & 0x17f)); // exponents −3 to −1
  });
  const values = new Uint16Array(length);
  for (let at = 0; at < length; at += piece.length) values.set(piece.subarray(0, length - at), at);
  return values;
}

function agree(got: Float64Array, wanted: Float64Array): boolean {
  const largest = wanted.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
  return got.every((x, i) => Math.abs(x - wanted[i]!) <= TOLERANCE * largest);
}

function parse(text: string | undefined): [string, string][] {
  try {
    const found = Object.entries(JSON.parse(text ?? "{}") as Record<string, unknown>);
    return found.filter((entry): entry is [string, string] => typeof entry[1] === "string");
  } catch {
    return [];
  }
}
