import { createCudaBackend } from "@slayer/backend-cuda";
import { type Backend, byteSize, decode, encode, type Operand, type Plan } from "@slayer/tensor";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hostEnvironment, missing, note } from "./support/host.js";

type Float = "f32" | "bf16";
interface Product {
  readonly layout: "nn" | "nt" | "tn" | "tt";
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** Of A, B and C; with bf16 for A and f32 for B C may be either, else it is as A unless A is bf16. */
  readonly types: readonly [Float, Float, Float];
  readonly addend: boolean;
  /** By how many elements A, B, C and the addend lie beside a multiple of 256 bytes. */
  readonly shifts: readonly [number, number, number, number];
}

if (missing === undefined) Object.assign(process.env, hostEnvironment());

/** Whole numbers from −4 to 4: f32 sums of a few hundred products, and bf16 operands, are exact. */
function whole(count: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return ((state >>> 16) % 9) - 4;
  });
}

/** What is wrong with C, or with the memory around it; nothing if all is well. */
async function wrong(backend: Backend, { layout, m, n, k, types, addend, shifts }: Product): Promise<string[]> {
  const [transposeA, transposeB] = [layout[0] === "t", layout[1] === "t"];
  const shapes = [transposeA ? [k, m] : [m, k], transposeB ? [n, k] : [k, n], [m, n], [m, n]] as const;
  const dtypes = [...types, types[2]] as const;
  const values = shapes.map(([rows, columns], i) => whole(rows! * columns!, i + 1));
  let bytes = 0;
  const operands = shapes.map((shape, index) => {
    const dtype = dtypes[index]!;
    const offset = bytes + byteSize(dtype) * shifts[index]!;
    bytes += Math.ceil((offset - bytes + byteSize(dtype) * values[index]!.length + 1) / 256) * 256;
    return { shape, dtype, offset, operand: { shape, dtype, place: { in: "persistent", index } } satisfies Operand };
  });
  // NaN wherever nothing else is: what a kernel reads beside an operand shows in C.
  const image = new Uint8Array(bytes).fill(0xff);
  const put = (i: number, data: Float32Array) => {
    const encoded = encode(data, dtypes[i]!);
    image.set(new Uint8Array(encoded.buffer, encoded.byteOffset, encoded.byteLength), operands[i]!.offset);
  };
  for (const i of [0, 1, 3]) put(i, values[i]!);
  const buffer = backend.allocate(bytes);
  await backend.write(buffer, 0, image);

  const [a, b, c, d] = operands.map(({ operand }) => operand);
  const attrs = { transposeA, transposeB, ...(types[2] === "f32" && types[0] === "bf16" && { f32: true }) };
  const inputs = addend ? [a!, b!, d!] : [a!, b!];
  const step = { op: addend ? "matmul_add" : "matmul", attrs, inputs, outputs: [c!] } as const;
  const cost = { flops: 0, readBytes: 0, writeBytes: 0 };
  const plan = {
    steps: [{ ...step, scope: null, recomputed: false, cost, frees: [] }],
    persistent: operands.map(({ shape, dtype }, i) => ({ name: `operand ${i}`, role: "state", shape, dtype })),
    inputs: {},
    outputs: {},
    arenaBytes: 0,
    inputBytes: 0,
  } as unknown as Plan;
  const none = backend.allocate(256);
  const bindings = { arena: none, inputs: none, persistent: operands.map(({ offset }) => ({ buffer, offset })) };
  await backend.run(await backend.prepare(plan, bindings));
  const after = await backend.read(buffer, 0, bytes);
  for (const each of [buffer, none]) backend.free(each);

  const expected = Float32Array.from({ length: m * n }, (_, at) => {
    const [i, j] = [Math.floor(at / n), at % n];
    let sum = addend ? values[3]![at]! : 0;
    for (let p = 0; p < k; p++) {
      sum += values[0]![transposeA ? p * m + i : i * k + p]! * values[1]![transposeB ? j * k + p : p * n + j]!;
    }
    return sum;
  });
  put(2, expected);
  const { offset, dtype } = operands[2]!;
  const valuesOf = (from: Uint8Array) => decode(from.slice(offset, offset + m * n * byteSize(dtype)), dtype, m * n);
  const got = valuesOf(after);
  const rounded = valuesOf(image);
  const off = got.findIndex((value, at) => value !== rounded[at]);
  const beside = after.findIndex((byte, at) => byte !== image[at]);
  return [
    ...(off < 0 ? [] : [`C[${Math.floor(off / n)}, ${off % n}] is ${got[off]}, not ${rounded[off]}`]),
    ...(off >= 0 || beside < 0 ? [] : [`byte ${beside} was changed, C begins at ${offset}`]),
  ];
}

const layouts = ["nn", "nt", "tn", "tt"] as const;
const types = [
  ["f32", "f32", "f32"],
  ["f32", "bf16", "f32"],
  ["bf16", "f32", "f32"],
  ["bf16", "f32", "bf16"],
  ["bf16", "bf16", "f32"],
  ["bf16", "bf16", "bf16"],
] as const;
const extent = (most: number) =>
  fc.tuple(fc.integer({ min: 1, max: most }), fc.constantFrom(1, 4)).map(([count, each]) => count * each);
const shift = fc.constantFrom(0, 0, 0, 0, 1, 2, 3, 4);
const anyProduct: fc.Arbitrary<Product> = fc.record({
  layout: fc.constantFrom(...layouts),
  m: extent(75),
  n: extent(75),
  k: extent(25),
  types: fc.constantFrom(...types),
  addend: fc.boolean(),
  shifts: fc.tuple(shift, shift, shift, shift),
});

describe.skipIf(missing !== undefined)(`products on the ordinary cores, on the host's executor${note}`, () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createCudaBackend();
  });
  afterAll(() => backend.close());

  const aligned = [0, 0, 0, 0] as const;
  it.each<[string, Partial<Product>]>([
    ["large tiles, cut at the edges, a whole number of stages", { m: 260, n: 132, k: 40 }],
    ["large tiles, a first stage of 4 steps", { m: 136, n: 260, k: 28 }],
    ["large tiles, one stage", { m: 132, n: 264, k: 8 }],
    ["small tiles, two stages of 4 and 8 steps", { m: 68, n: 72, k: 12 }],
    ["any extents", { m: 67, n: 71, k: 19 }],
    ["A beside 16 bytes", { m: 260, n: 132, k: 20, shifts: [1, 0, 0, 0] }],
    ["C and the addend beside 16 bytes", { m: 260, n: 132, k: 20, shifts: [0, 0, 3, 1] }],
  ])("%s: every layout and all types, with and without an addend, exact on whole numbers", async (_, product) => {
    const problems: Record<string, string[]> = {};
    for (const layout of layouts) {
      for (const each of types) {
        const addend = layout !== "nn";
        const all = { m: 0, n: 0, k: 0, shifts: aligned, ...product, layout, types: each, addend };
        const found = await wrong(backend, all);
        if (found.length > 0) problems[`${layout} ${each.join(" ")}`] = found;
      }
    }
    expect(problems).toEqual({});
  });

  it("of any shape, layout, types and places in memory: exact on whole numbers, nothing beside C written", async () => {
    await fc.assert(
      fc.asyncProperty(anyProduct, async (product) => {
        expect(await wrong(backend, product)).toEqual([]);
      }),
      { numRuns: 40 },
    );
  });
});
