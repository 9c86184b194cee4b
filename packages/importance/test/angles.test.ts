import { describe, expect, it } from "vitest";
import { sumAngles } from "../src/angles.js";

const between = async (a: number[], b: number[]) =>
  (await sumAngles([Float32Array.from(a), Float32Array.from(b)], a.length, 0, 1))[1]!;

describe("angle between two f32 vectors", () => {
  it.each([1e-3, 1e-6, 1e-9, 1e-12])(
    "of slope %f: arctan of it, relative error ≤ 1e-6, where arccos of the cosine has lost it",
    async (slope) => {
      const angle = await between([1, 0], [1, slope]);
      expect(Math.abs(angle / Math.atan(Math.fround(slope)) - 1)).toBeLessThanOrEqual(1e-6);
    },
  );

  it("known angles, absolute error ≤ 1e-15", async () => {
    const known: [number[], number[], number][] = [
      [[1, 0], [0, 5], Math.PI / 2],
      [[1, 0, 0], [-3, 0, 0], Math.PI],
      [[1, 1], [0, 2], Math.PI / 4],
      [[1, 2, 3], [1, 2, 3], 0],
    ];
    for (const [a, b, angle] of known) expect(Math.abs((await between(a, b)) - angle)).toBeLessThanOrEqual(1e-15);
  });

  it("does not depend on lengths, from the smallest to the largest f32, to 1e-6", async () => {
    const b = [1, 1, 0];
    for (const scale of [1e-38, 1, 3e38]) {
      expect(Math.abs((await between([scale, 0, 0], b)) - Math.PI / 4)).toBeLessThanOrEqual(1e-6);
    }
  });

  it("a zero vector is orthogonal to others and equal to another zero, to 1e-15", async () => {
    expect(Math.abs((await between([0, 0], [3, 4])) - Math.PI / 2)).toBeLessThanOrEqual(1e-15);
    expect(await between([0, 0], [0, 0])).toBe(0);
  });

  it("sums over the rows asked for, all pairs, to 1e-15", async () => {
    const states = [
      [1, 0, 1, 0, 1, 0],
      [7, 7, 0, 1, 1, 1],
      [7, 7, -1, 0, 0, 1],
    ].map((values) => Float32Array.from(values));
    const sums = await sumAngles(states, 2, 1, 2);
    const wanted = [0, 3 / 4, 3 / 2, 0, 0, 3 / 4, 0, 0, 0].map((x) => x * Math.PI);
    expect(Math.max(...wanted.map((w, i) => Math.abs(w - sums[i]!)))).toBeLessThanOrEqual(1e-15);
  });
});
