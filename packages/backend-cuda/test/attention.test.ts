import { type CaseInput, cases, type KernelCase, runCase } from "@slayer/backend-conformance";
import { createCudaBackend } from "@slayer/backend-cuda";
import { type Backend, cacheWrite, Graph, type OpName, Program, size, Store, type Tensor } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

if (missing === undefined) Object.assign(process.env, hostEnvironment());

interface Sizes {
  readonly B?: number;
  readonly T: number;
  readonly S?: number;
  readonly H: number;
  readonly K: number;
  readonly E: number;
  readonly window?: number;
  readonly segments?: CaseInput["fill"];
  readonly offset?: number;
}

/** Of 256 rows. */
const documents = (of: (row: number) => number): CaseInput["fill"] => ({
  kind: "values",
  values: Array.from({ length: 256 }, (_, i) => of(i)),
});

/** Several tiles and stages, whole and not, of queries and keys, for one sequence and two. */
const shapes: readonly Sizes[] = [
  { T: 64, H: 1, K: 1, E: 64 },
  { T: 128, H: 1, K: 1, E: 128 },
  { B: 2, T: 257, H: 4, K: 2, E: 64 },
  { T: 330, H: 2, K: 1, E: 128 },
  { T: 450, H: 1, K: 1, E: 64, window: 20 },
  // Of windows of 127 and 191 the first key of a tile is the last that some query of a tile does not see.
  { T: 300, H: 1, K: 1, E: 64, window: 127 },
  { T: 400, H: 1, K: 1, E: 128, window: 191 },
  { B: 2, T: 300, H: 2, K: 1, E: 64, segments: { kind: "segments", meanLength: 100 } },
  { T: 200, H: 1, K: 1, E: 128, window: 60, segments: { kind: "segments", meanLength: 40 } },
  // Documents in any order, one of them in two pieces; one of a single row, the last of a tile.
  { T: 256, H: 1, K: 1, E: 64, segments: documents((i) => (i < 100 ? 7 : i < 180 ? 2 : 7)) },
  { T: 256, H: 1, K: 1, E: 64, segments: documents((i) => (i === 127 ? 1 : 0)) },
];
const cached: readonly Sizes[] = [
  { B: 2, T: 70, S: 300, H: 2, K: 1, E: 64, offset: 130 },
  { T: 130, S: 350, H: 1, K: 1, E: 128, offset: 220, window: 150 },
  { T: 100, S: 300, H: 1, K: 1, E: 64, offset: 190 }, // query 64 is at the last position but one of a tile of keys
];

const tolerance = {
  value: 2 ** -7,
  reason: "results rounded to bf16, half a unit in the last place is 2⁻⁸; as much for products that were rounded",
};

function caseOf(op: OpName, { B = 1, T, S = T, H, K, E, window = 0, segments, offset }: Sizes): KernelCase {
  const attrs = {
    heads: H,
    kvHeads: K,
    scale: E ** -0.5,
    window,
    segments: segments !== undefined,
    offset: offset !== undefined,
  };
  const bf16 = (...shape: number[]): CaseInput => ({ shape, dtype: "bf16", fill: { kind: "normal" } });
  const extra: CaseInput[] = [];
  if (segments) extra.push({ shape: [B, T], dtype: "i32", fill: segments });
  if (offset !== undefined) extra.push({ shape: [1], dtype: "i32", fill: { kind: "values", values: [offset] } });
  const [q, k, v] = [bf16(B, T, H * E), bf16(B, S, K * E), bf16(B, S, K * E)];
  const name = `${op} ${JSON.stringify({ B, T, S, H, K, E, window, offset })}`;
  if (op === "attention") return { name, op, attrs, inputs: [q, k, v, ...extra], tolerance };
  const forward = (output: number, dtype: "bf16" | "f32", ...shape: number[]): CaseInput => ({
    shape,
    dtype,
    fill: { kind: "forward", op: "attention", attrs, inputs: segments ? [1, 2, 3, 6] : [1, 2, 3], output },
  });
  const inputs = [q, q, k, v, forward(0, "bf16", B, T, H * E), forward(1, "f32", B, H, T), ...extra];
  return { name, op, attrs, inputs, tolerance };
}

/** On a device of compute capability 8.0 or 9.0. */
async function on<T>(major: number, body: (backend: Backend) => Promise<T>): Promise<T> {
  Object.assign(process.env, { SLAYER_HOST_DRIVER: `major=${major}` });
  try {
    const backend = await createCudaBackend();
    const result = await body(backend);
    await backend.close();
    return result;
  } finally {
    delete process.env.SLAYER_HOST_DRIVER;
  }
}

function failures(major: number, cases: readonly KernelCase[]): Promise<Record<string, readonly string[]>> {
  return on(major, async (backend) => {
    const wrong: Record<string, readonly string[]> = {};
    for (const each of cases) {
      const result = await runCase(backend, each);
      if (result.status === "failed") wrong[each.name] = result.problems;
      if (result.status === "unsupported") wrong[each.name] = [result.reason];
    }
    return wrong;
  });
}

/** Output and gradients, for the first of two sequences of 100 rows; the second's values are `other`. */
async function firstOfTwo(backend: Backend, other: (i: number) => number) {
  const [T, H, E] = [100, 2, 64];
  const attrs = { heads: H, kvHeads: 1, scale: 0.125, window: 0, segments: false, offset: false };
  const graph = new Graph();
  const [dout, q, k, v] = ["do", "q", "k", "v"].map((name, i) =>
    graph.parameter(name, [2, T, i < 2 ? H * E : E], "bf16"),
  ) as [Tensor, Tensor, Tensor, Tensor];
  const [o, lse] = graph.apply("attention", [q, k, v], attrs) as [Tensor, Tensor];
  const [dq, dk, dv] = graph.apply("attention_backward", [dout, q, k, v, o, lse], attrs) as [Tensor, Tensor, Tensor];
  const store = new Store(backend);
  for (const { name, shape, dtype } of [dout, q, k, v]) {
    store.add({ name: name!, shape, dtype });
    const length = size(shape);
    const value = (_: unknown, i: number) => (i < length / 2 ? Math.sin(i * 12.9898 + length) : other(i));
    await store.write(name!, Float32Array.from({ length }, value));
  }
  const program = await Program.compile(graph, { o, dq, dk, dv }, store);
  await program.run({});
  const results: Record<string, number[]> = {};
  for (const name of ["o", "dq", "dk", "dv"] as const) {
    const values = await program.read(name);
    results[name] = [...values.slice(0, values.length / 2)];
  }
  return results;
}

/** 5 entries of 4 heads and one of keys and values, of 130 tokens each, that come first in a cache of S; 12 MiB an entry where S is 24576. */
async function overCache(backend: Backend, S: number) {
  const [B, T, H, E] = [5, 130, 4, 128];
  const graph = new Graph();
  const q = graph.input("q", [B, T, H * E], "bf16");
  const offset = graph.input("offset", [1], "i32");
  const store = new Store(backend);
  const [k, v] = ["k", "v"].map((name) => {
    store.add({ name, shape: [B, S, E], dtype: "bf16" });
    const cache = graph.state(name, [B, S, E], "bf16");
    cacheWrite(cache, graph.input(`${name} rows`, [B, T, E], "bf16"), offset);
    return cache;
  }) as [Tensor, Tensor];
  const attrs = { heads: H, kvHeads: 1, scale: E ** -0.5, window: 0, segments: false, offset: true };
  const [o] = graph.apply("attention", [q, k, v, offset], attrs);
  const program = await Program.compile(graph, { o: o! }, store);
  const values = (heads: number) => Float32Array.from({ length: B * T * heads * E }, (_, i) => Math.sin(i * 12.9898));
  await program.run({ q: values(H), "k rows": values(1), "v rows": values(1), offset: Int32Array.of(0) });
  const result = await program.read("o");
  program.free();
  store.free();
  return result;
}

describe.skipIf(missing !== undefined)(`attention on the tensor cores, on the host's executor${note}`, () => {
  const kinds = [
    ["compute capability 8.0", 8, 300], // its tiles are smaller
    ["Hopper's warpgroups", 9, 450],
  ] as const;
  const within = "within 2⁻⁷ of the f64 reference: what bf16 leaves";
  it.each(kinds)(`%s: forward, ${within}`, async (_, major, longest) => {
    const sizes = [...shapes, ...cached].filter(({ T }) => T <= longest);
    const forward = sizes.map((each) => caseOf("attention", each));
    expect(await failures(major, forward)).toEqual({});
  });

  it.each(kinds)(`%s: backward, ${within}`, async (_, major, longest) => {
    const sizes = shapes.filter(({ T }) => T <= longest);
    const backward = sizes.map((each) => caseOf("attention_backward", each));
    expect(await failures(major, backward)).toEqual({});
  });

  it("the cases of every backend in bf16, on whichever of Hopper's kernels take them", async () => {
    const some = cases.filter(({ op, storage, bench }) => op.startsWith("attention") && storage === "bf16" && !bench);
    expect(await failures(9, some)).toEqual({});
  });

  it("heads whose keys and values the cache has no room for take turns: the very bits that they give with a short cache", async () => {
    const [short, long] = await on(9, (backend) => Promise.all([130, 24576].map((S) => overCache(backend, S))));
    expect(short!.some((x) => x !== 0)).toBe(true);
    expect(long).toEqual(short);
  });

  it.each(kinds)(
    "%s: what follows a sequence does not matter to it, not even NaN: every bit the same",
    async (_, major) => {
      const [finite, nan] = await on(major, (backend) =>
        Promise.all([firstOfTwo(backend, (i) => Math.cos(i)), firstOfTwo(backend, () => NaN)]),
      );
      for (const values of Object.values(finite)) expect(values.every(Number.isFinite)).toBe(true);
      expect(nan).toEqual(finite);
    },
  );
});
