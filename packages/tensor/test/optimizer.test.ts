import {
  accumulate,
  adamw,
  cacheWrite,
  clear,
  clipFactor,
  fill,
  Graph,
  sumOfSquares,
  type Tensor,
  type TypedArray,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { compile, random, randomArray, relativeError } from "./helpers.js";

const f64 = (...values: number[]) => Float64Array.from(values);

describe("adamw", () => {
  const [beta1, beta2, eps, weightDecay] = [0.9, 0.95, 1e-8, 0.1];
  const n = 37;

  it("three steps with changing lr equal decoupled decay and bias-corrected moments, written out: ≤ 1e-14", async () => {
    const g = new Graph();
    const state = (name: string) => g.state(name, [n], "f64");
    const operands = {
      parameter: g.parameter("p", [n], "f64"),
      gradient: g.input("g", [n], "f64"),
      m: state("m"),
      v: state("v"),
      factor: g.input("factor", [1], "f64"),
      step: g.input("step", [3], "f64"),
    };
    adamw(operands, { beta1, beta2, eps, weightDecay });
    const next = random(5);
    const start = randomArray(n, next);
    const { program, store } = await compile(g, {}, { p: start });

    // Loshchilov & Hutter 2019, algorithm 2, element by element.
    const expected = { p: Array.from(start), m: Array(n).fill(0) as number[], v: Array(n).fill(0) as number[] };
    for (const [i, lr] of [1e-2, 2e-2, 5e-3].entries()) {
      const t = i + 1;
      const gradient = randomArray(n, next);
      await program.run({ g: gradient, factor: f64(0.5), step: f64(lr, 1 - beta1 ** t, 1 - beta2 ** t) });
      for (let j = 0; j < n; j++) {
        const gj = gradient[j]! / 2;
        expected.m[j] = beta1 * expected.m[j]! + (1 - beta1) * gj;
        expected.v[j] = beta2 * expected.v[j]! + (1 - beta2) * gj ** 2;
        const mHat = expected.m[j]! / (1 - beta1 ** t);
        const vHat = expected.v[j]! / (1 - beta2 ** t);
        expected.p[j] = expected.p[j]! * (1 - lr * weightDecay) - (lr * mHat) / (Math.sqrt(vHat) + eps);
      }
    }
    for (const name of ["p", "m", "v"] as const) {
      expect(relativeError(await store.read(name), expected[name])).toBeLessThanOrEqual(1e-14);
    }
  });

  it("writes neither gradient nor factor, and refuses an intermediate as parameter", () => {
    const g = new Graph();
    const x = g.parameter("x", [2]);
    const y = fill(x, [2], 1);
    const rest = {
      gradient: x,
      m: g.state("m", [2]),
      v: g.state("v", [2]),
      factor: g.state("f", [1]),
      step: g.state("s", [3]),
    };
    expect(() => adamw({ parameter: y, ...rest }, { beta1, beta2, eps, weightDecay })).toThrow(
      "adamw writes its operand 0, which must be a parameter or state, not an intermediate",
    );
    expect(() =>
      adamw({ parameter: x, ...rest, v: g.input("v2", [2], "f32") }, { beta1, beta2, eps, weightDecay }),
    ).toThrow("adamw writes its operand 3, which must be a parameter or state, not an input");
  });
});

describe("clip_factor", () => {
  const run = async ([sumSquares, scale, maxNorm]: readonly [number, number, number]) => {
    const g = new Graph();
    const outputs: Record<string, Tensor> = {
      ...clipFactor(g.input("sumSquares", [1], "f64"), g.input("scale", [1], "f64"), maxNorm),
    };
    const { program } = await compile(g, outputs, {});
    await program.run({ sumSquares: f64(sumSquares), scale: f64(scale) });
    return [(await program.read("norm"))[0]!, (await program.read("factor"))[0]!];
  };

  it.each([
    { what: "above the limit: max/(norm + 1e-6)", given: [25, 1, 2], expected: [5, 2 / (5 + 1e-6)] },
    { what: "below it: 1", given: [25, 1, 10], expected: [5, 1] },
    {
      what: "scaled gradients: norm and factor are the scaled ones'",
      given: [25, 0.25, 1],
      expected: [1.25, 0.25 / (1.25 + 1e-6)],
    },
    { what: "scaled below the limit: the scale alone", given: [25, 0.125, 1], expected: [0.625, 0.125] },
    { what: "0 stands for no clipping", given: [25, 1, 0], expected: [5, 1] },
    { what: "no gradient at all", given: [0, 1, 1], expected: [0, 1] },
  ] as const)("$what (≤ 1e-15)", async ({ given, expected }) => {
    const [norm, factor] = await run(given);
    expect(Math.abs(norm! - expected[0])).toBeLessThanOrEqual(1e-15);
    expect(Math.abs(factor! - expected[1])).toBeLessThanOrEqual(1e-15);
  });
});

describe("sum_of_squares", () => {
  it("of 1 … 100 is n(n+1)(2n+1)/6, exactly, also in f32", async () => {
    for (const dtype of ["f64", "f32"] as const) {
      const g = new Graph();
      const values = Array.from({ length: 100 }, (_, i) => i + 1);
      const x = dtype === "f64" ? Float64Array.from(values) : Float32Array.from(values);
      const { program } = await compile(g, { s: sumOfSquares(g.parameter("x", [4, 25], dtype)) }, { x });
      await program.run();
      expect([...(await program.read("s"))]).toEqual([338350]);
    }
  });
});

describe("state ops", () => {
  /** Runs a graph without outputs `times` and returns state `name`. */
  const after = async (g: Graph, values: Record<string, TypedArray>, inputs: Record<string, TypedArray>, times = 1) => {
    const { program, store } = await compile(g, {}, values);
    for (let i = 0; i < times; i++) await program.run(inputs);
    return [...(await store.read("state"))];
  };

  it("accumulate adds at each run", async () => {
    const g = new Graph();
    accumulate(g.state("state", [3]), g.input("x", [3], "f32"));
    const x = Float32Array.of(1, -2, 0.5);
    expect(await after(g, { state: Float32Array.of(10, 10, 10) }, { x }, 3)).toEqual([13, 4, 11.5]);
  });

  it("clear sets zero, and only then is added to what follows", async () => {
    const g = new Graph();
    const state = g.state("state", [2]);
    clear(state);
    accumulate(state, g.input("x", [2], "f32"));
    expect(await after(g, { state: Float32Array.of(NaN, 7) }, { x: Float32Array.of(3, 4) }, 2)).toEqual([3, 4]);
  });

  it("cache_write puts rows at the offset, in each sequence of the batch, and leaves the others", async () => {
    const g = new Graph();
    cacheWrite(g.state("state", [2, 4, 2]), g.input("x", [2, 2, 2], "f32"), g.input("offset", [1], "i32"));
    const state = Float32Array.from({ length: 16 }, (_, i) => -i);
    const x = Float32Array.from({ length: 8 }, (_, i) => 100 + i);
    const first = [-0, -1, 100, 101, 102, 103, -6, -7];
    const second = [-8, -9, 104, 105, 106, 107, -14, -15];
    expect(await after(g, { state }, { x, offset: Int32Array.of(1) })).toEqual([...first, ...second]);
  });

  it.each([-1, 3])("cache_write at %d of 4 with two rows is an error, not a write elsewhere", async (offset) => {
    const g = new Graph();
    cacheWrite(g.state("state", [1, 4, 1]), g.input("x", [1, 2, 1], "f32"), g.input("offset", [1], "i32"));
    const run = after(g, {}, { offset: Int32Array.of(offset) });
    await expect(run).rejects.toThrow(`cache_write: rows ${offset}..${offset + 1} don't fit a cache of 4`);
  });

  it("fill has one value everywhere, in the type of its neighbour", async () => {
    const g = new Graph();
    const [a, b] = [g.parameter("a", [1], "f64"), g.parameter("b", [1], "f32")];
    const { program } = await compile(g, { a: fill(a, [2, 2], 0.1), b: fill(b, [3], 0.1) }, {});
    await program.run();
    expect(await program.read("a")).toEqual(f64(0.1, 0.1, 0.1, 0.1));
    expect(await program.read("b")).toEqual(Float32Array.of(0.1, 0.1, 0.1));
  });
});
