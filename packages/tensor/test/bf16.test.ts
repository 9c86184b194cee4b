import {
  accumulatorOf,
  copy,
  createReferenceBackend,
  decode,
  differentiate,
  embedding,
  encode,
  Graph,
  lmHeadLoss,
  matmul,
  Program,
  rmsnorm,
  Store,
  sum,
} from "@slayer/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const bits = (x: number) => (encode(Float32Array.of(x), "bf16") as Uint16Array)[0]!;
const value = (b: number) => decode(new Uint8Array(Uint16Array.of(b).buffer), "bf16", 1)[0]!;

describe("rounding f32 to bf16", () => {
  it.each([
    ["1", 1, 0x3f80],
    ["a tie, down to even", 1 + 2 ** -8, 0x3f80],
    ["a tie, up to even", 1 + 3 * 2 ** -8, 0x3f82],
    ["just above a tie", 1 + 2 ** -8 + 2 ** -20, 0x3f81],
    ["up into the next power of two", 2 - 2 ** -10, 0x4000],
    ["beyond the largest finite", 3.4028234e38, 0x7f80],
    ["-0", -0, 0x8000],
    ["the smallest f32: to 0", 2 ** -149, 0x0000],
    ["-Infinity", -Infinity, 0xff80],
    ["NaN", NaN, 0x7fc0],
  ])("%s", (_, x, expected) => {
    expect(bits(x)).toBe(expected);
  });

  it("a NaN whose payload is in the lower half stays one", () => {
    const nan = new Float32Array(Uint32Array.of(0x7f800001).buffer);
    expect(value((encode(nan, "bf16") as Uint16Array)[0]!)).toBeNaN();
  });

  it("takes the nearer of the two neighbours, or the even one", () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, min: Math.fround(-1e38), max: Math.fround(1e38) }), (x) => {
        const b = bits(x);
        const [below, above] = [value(b - 1), value(b + 1)];
        const error = Math.abs(value(b) - x);
        expect(error).toBeLessThanOrEqual(Math.min(Math.abs(below - x) || Infinity, Math.abs(above - x) || Infinity));
        if (error === Math.abs(below - x) || error === Math.abs(above - x)) expect(b % 2).toBe(0);
      }),
    );
  });

  it("gives back every bf16 number", () => {
    let wrong = 0;
    for (let b = 0; b < 0x10000; b++) {
      if ((b & 0x7fff) > 0x7f80) continue; // NaNs
      wrong += Number(bits(value(b)) !== b);
    }
    expect(wrong).toBe(0);
  });
});

describe("ops on bf16", () => {
  it("yield the activations' type, sums and gradients of weights in f32", () => {
    const g = new Graph();
    const table = g.parameter("table", [7, 4], "bf16");
    const norm = g.parameter("norm", [4], "bf16");
    const w = g.parameter("w", [4, 4], "bf16");
    const ids = g.input("ids", [2, 3], "i32");
    const x = embedding(table, ids);
    expect(x.dtype).toBe("bf16");
    expect(embedding(table, ids, true).dtype).toBe("f32");
    const y = matmul(rmsnorm(x, norm, 1e-5), w, { transposeB: true });
    expect(y.dtype).toBe("bf16");
    expect(matmul(y, w, { f32: true }).dtype).toBe("f32");
    const nll = lmHeadLoss(y, table, ids);
    expect(nll.dtype).toBe("f32");
    const gradients = differentiate(sum(nll), [table, norm, w]);
    expect(gradients.map((t) => t!.dtype)).toEqual(["f32", "f32", "f32"]);
    expect(accumulatorOf("f64")).toBe("f64");
  });

  it("weights beside f32 activations give what the same weights in f32 give, bit for bit", async () => {
    const weights = Float32Array.from({ length: 12 }, (_, i) => value(0x3e00 + 77 * i));
    const x = Float32Array.of(0.1, -0.7, 1.3, 2.9);
    const results = [];
    for (const dtype of ["bf16", "f32"] as const) {
      const g = new Graph();
      const store = new Store(createReferenceBackend());
      store.add({ name: "w", shape: [3, 4], dtype });
      await store.write("w", weights);
      const y = matmul(g.input("x", [1, 4], "f32"), g.parameter("w", [3, 4], dtype), { transposeB: true });
      const program = await Program.compile(g, { y }, store);
      await program.run({ x });
      results.push([...(await program.read("y"))]);
    }
    expect(results[0]).toEqual(results[1]);
  });

  it("copy rounds a flat range of f32 masters into their bf16 copies, element by element", async () => {
    const store = new Store(createReferenceBackend());
    const shapes = { a: [3, 5], b: [200], c: [1] };
    const range = (prefix: string, dtype: "f32" | "bf16") =>
      store.addRange(
        Object.entries(shapes).map(([name, shape]) => ({ name: `${prefix}.${name}`, shape, dtype })),
        prefix,
      );
    const length = range("master", "f32");
    expect(range("working", "bf16")).toBe(length);
    const values = Float32Array.from({ length: 200 }, (_, i) => Math.sin(i));
    await store.write("master.b", values);
    const g = new Graph();
    copy(g.state("working", [length], "bf16"), g.state("master", [length]));
    await (await Program.compile(g, {}, store)).run();
    expect(await store.read("working.b")).toEqual(
      decode(new Uint8Array((encode(values, "bf16") as Uint16Array).buffer as ArrayBuffer), "bf16", 200),
    );
  });
});
