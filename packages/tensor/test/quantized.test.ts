import { readFileSync } from "node:fs";
import {
  byteLength,
  dequantize,
  differentiate,
  Graph,
  makePlan,
  matmul,
  quantize,
  type QuantizedFormat,
  quantizedTypes,
  sum,
  type Tensor,
} from "@slayer/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { bits } from "./eager.js";
import { compile, random, randomArray } from "./helpers.js";

interface Expected {
  readonly codes: number[];
  readonly scales: number[];
  readonly values: number[];
}
interface Case extends Record<QuantizedFormat, Expected> {
  readonly name: string;
  readonly shape: [number, number];
  readonly weights: number[];
}
const file = new URL("./fixtures/quantized.json", import.meta.url);
const { cases } = JSON.parse(readFileSync(file, "utf8")) as { cases: Case[] };
const formats = ["int8", "nf4"] as const;

/** Codes one by one. */
function unpacked(codes: Int32Array, [rows, columns]: readonly [number, number], format: QuantizedFormat): number[] {
  const words = codes.length / rows;
  return Array.from({ length: rows * columns }, (_, i) => {
    const [row, j] = [Math.floor(i / columns), i % columns];
    return format === "int8"
      ? new Int8Array(codes.buffer)[4 * row * words + j]!
      : (new Uint8Array(codes.buffer)[4 * row * words + (j >> 1)]! >> (4 * (j & 1))) & 15;
  });
}

/** Declares what holds a matrix of this shape, and gives the matrix. */
function declare(g: Graph, name: string, shape: readonly number[], format: QuantizedFormat): Tensor {
  const { codes, scales } = quantizedTypes(format, shape);
  const [c, s] = [g.parameter(`${name}.codes`, codes.shape, "i32"), g.parameter(`${name}.scales`, scales.shape)];
  return dequantize(c, s, format, shape[1]!);
}

const values = (name: string, { codes, scales }: ReturnType<typeof quantize>) => ({
  [`${name}.codes`]: codes,
  [`${name}.scales`]: scales,
});

describe.each(formats)("%s", (format) => {
  it.each(cases.map((c) => [c.name, c] as const))(
    "codes, scales and values of '%s' are NumPy's, bit for bit",
    async (_, { shape, weights, ...expected }) => {
      const result = quantize(new Float32Array(weights), shape, format);
      expect(unpacked(result.codes, shape, format)).toEqual(expected[format].codes);
      expect([...result.scales]).toEqual([...new Float32Array(expected[format].scales)]);
      const g = new Graph();
      const { program } = await compile(g, { w: declare(g, "w", shape, format) }, values("w", result));
      await program.run();
      // −0 and 0 are the same weight.
      expect([...(await program.read("w"))].map((x) => x + 0)).toEqual(
        [...new Float32Array(expected[format].values)].map((x) => x + 0),
      );
    },
  );

  it("is off by at most half the widest gap between two of its values, and leaves unused bits 0", async () => {
    const widest = format === "int8" ? 1 / 127 : 1 - 0.6961928009986877;
    const shape = fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 150 }));
    await fc.assert(
      fc.asyncProperty(shape, fc.integer(), fc.integer({ min: -30, max: 30 }), async ([rows, columns], seed, power) => {
        const next = random(seed);
        const w = Float32Array.from({ length: rows * columns }, () => next() * 2 ** power);
        const result = quantize(w, [rows, columns], format);
        const g = new Graph();
        const { program } = await compile(g, { w: declare(g, "w", [rows, columns], format) }, values("w", result));
        await program.run();
        const back = await program.read("w");
        for (let row = 0; row < rows; row++) {
          for (let at = 0; at < columns; at += 64) {
            const part = [row * columns + at, row * columns + Math.min(columns, at + 64)] as const;
            const most = Math.max(...w.subarray(...part).map(Math.abs));
            // 2⁻²²: the scale and the product are rounded to f32.
            for (let i = part[0]; i < part[1]; i++) {
              expect(Math.abs(back[i]! - w[i]!)).toBeLessThanOrEqual(most * (widest / 2 + 2 ** -22));
            }
          }
        }
        const used = (columns * (format === "int8" ? 8 : 4)) % 32;
        const words = result.codes.length / rows;
        if (used > 0) for (let r = 1; r <= rows; r++) expect(result.codes[r * words - 1]! >>> used).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  it.each([NaN, Infinity, -Infinity])("refuses %s", (value) => {
    const w = new Float32Array(130).fill(1);
    w[67] = value;
    expect(() => quantize(w, [1, 130], format)).toThrow(`value 67 of row 0 is ${value}`);
  });

  it("passes gradients as the same matrix in f32 does, bit for bit", async () => {
    const next = random(3);
    const shape = [24, 70] as const;
    const q = quantize(randomArray(24 * 70, next, "f32") as Float32Array, shape, format);
    const x = randomArray(5 * 70, next, "f32");
    const gradient = async (w: (g: Graph) => Tensor, given: Record<string, Float32Array | Int32Array>) => {
      const g = new Graph();
      const input = g.parameter("x", [5, 70]);
      const y = matmul(input, w(g), { transposeB: true });
      const [dx] = differentiate(sum(matmul(y, y, { transposeB: true })), [input]);
      const { program } = await compile(g, { dx: dx! }, { ...given, x });
      await program.run();
      return bits(await program.read("dx"));
    };
    const g = new Graph();
    const { program } = await compile(g, { w: declare(g, "w", shape, format) }, values("w", q));
    await program.run();
    const w = (await program.read("w")) as Float32Array;
    const plain = await gradient((graph) => graph.parameter("w", shape), { w });
    expect(await gradient((graph) => declare(graph, "w", shape, format), values("w", q))).toBe(plain);
  });

  it("keeps no matrix for the backward pass: ten layers take the room of one", () => {
    const chain = (layers: number) => {
      const g = new Graph();
      const start = g.parameter("x", [1, 256]);
      let x: Tensor = start;
      for (let l = 0; l < layers; l++) {
        g.inScope(`block.${l}`, () => (x = matmul(x, declare(g, `${l}`, [256, 256], format), { transposeB: true })));
      }
      const loss = sum(x);
      const [dx] = differentiate(loss, [start]);
      return makePlan(g, { loss, dx: dx! });
    };
    const room = byteLength({ shape: [256, 256], dtype: "f32" });
    const { arenaBytes, steps } = chain(10);
    expect(arenaBytes).toBeLessThan(1.1 * room);
    const made = steps.filter(({ op }) => op === "dequantize");
    expect(made.map(({ recomputed }) => recomputed)).toEqual([...Array(10).fill(false), ...Array(10).fill(true)]);
  });
});
