import { adamw, createReferenceBackend, Graph, Program, Store } from "@slayer/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

interface Update {
  values: Float32Array;
  lr: number;
  seed: number;
  step: number;
}

/** One update whose step is lr·weightDecay·p alone (gradient 0): p becomes p·(1 − lr), rounded. */
async function update({ values, lr, seed, step }: Update): Promise<Float32Array> {
  const graph = new Graph();
  const n = values.length;
  const [gradient, m, v] = ["g", "m", "v"].map((name) => graph.state(name, [n]));
  adamw(
    {
      parameter: graph.parameter("p", [n], "bf16"),
      ...{ gradient: gradient!, m: m!, v: v! },
      ...{ factor: graph.input("factor", [1], "f32"), step: graph.input("step", [4], "f32") },
    },
    { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 1, seed },
  );
  const store = new Store(createReferenceBackend());
  store.add({ name: "p", shape: [n], dtype: "bf16" });
  for (const name of ["g", "m", "v"]) store.add({ name, shape: [n], dtype: "f32" });
  await store.write("p", values);
  const program = await Program.compile(graph, {}, store);
  await program.run({ factor: Float32Array.of(1), step: Float32Array.of(lr, 0.1, 0.05, step) });
  return (await store.read("p")) as Float32Array;
}

const bits = (x: number) => new Uint32Array(Float32Array.of(x).buffer)[0]!;
const float = (b: number) => new Float32Array(Uint32Array.of(b).buffer)[0]!;
const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);
const sample = { seed: fc.nat(0xffffffff), step: fc.integer({ min: 1, max: 2 ** 24 - 1 }) };

describe("stochastic rounding", () => {
  it("gives one of the two neighbouring bf16 values, each as often as its distance says: mean within 5 standard errors (and 5 elements)", async () => {
    const property = fc.asyncProperty(
      fc.record({
        ...sample,
        mantissa: fc.nat(127),
        exponent: fc.integer({ min: -20, max: 20 }),
        lr: fc.double({ min: 1e-5, max: 0.9, noNaN: true }),
      }),
      async ({ seed, step, mantissa, exponent, lr }) => {
        const p = (1 + mantissa / 128) * 2 ** exponent;
        const n = 4096;
        const rounded = await update({ values: new Float32Array(n).fill(p), lr, seed, step });
        const f = Math.fround;
        const exact = f(p - f(f(lr) * p));
        const below = float(bits(exact) & 0xffff0000);
        const above = float((bits(exact) & 0xffff0000) + 0x10000);
        const share = (exact - below) / (above - below);
        const up = rounded.filter((x) => x === above).length;
        expect(rounded.filter((x) => x === below).length + up).toBe(n);
        expect(Math.abs(up - n * share)).toBeLessThanOrEqual(5 * Math.sqrt(n * share * (1 - share)) + 5);
      },
    );
    await fc.assert(property, { numRuns: 20 });
  });

  it("leaves alone what bf16 holds exactly", async () => {
    const values = Float32Array.from({ length: 256 }, (_, i) => (1 + (i % 128) / 128) * (i < 128 ? 1 : -4));
    expect([...(await update({ values, lr: 0, seed: 3, step: 7 }))]).toEqual([...values]);
  });

  it("depends on seed and step: of two that differ in one bit, decisions agree for half of the elements (± 5 standard errors)", async () => {
    const property = fc.asyncProperty(
      fc.record({ ...sample, bit: fc.nat(23), of: fc.boolean() }),
      async ({ seed, step, bit, of }) => {
        const n = 2048;
        // 1 − 2⁻⁹ lies in the middle between two values of bf16.
        const decide = (s: number, t: number) =>
          update({ values: new Float32Array(n).fill(1), lr: 2 ** -9, seed: s, step: t });
        const [one, same, other] = [
          await decide(seed, step),
          await decide(seed, step),
          await (of ? decide((seed ^ (1 << bit)) >>> 0, step) : decide(seed, step ^ (1 << bit))),
        ];
        expect(same).toEqual(one);
        const agree = sum(one.map((x, i) => Number(x === other[i])));
        expect(Math.abs(agree - n / 2)).toBeLessThanOrEqual(5 * Math.sqrt(n / 4));
      },
    );
    await fc.assert(property, { numRuns: 20 });
  });

  it("lets updates far below half a unit count: 300 steps of −2⁻¹¹·p reach p·(1 − 2⁻¹¹)³⁰⁰ within 2 %, where nearest rounding stays", async () => {
    let values: Float32Array = new Float32Array(512).fill(1.5);
    for (let step = 1; step <= 300; step++) values = await update({ values, lr: 2 ** -11, seed: 5, step });
    const wanted = 1.5 * (1 - 2 ** -11) ** 300;
    expect(Math.abs(sum(values) / values.length / wanted - 1)).toBeLessThan(0.02);
    expect(wanted).toBeLessThan(1.3);
  });

  // tools/oracle/stochastic_rounding.py prints them.
  it("is the same on every machine: elements 0 … 31 of 1 − 2⁻⁹ for seed 1, step 2, as NumPy computes the hash", async () => {
    const rounded = await update({ values: new Float32Array(32).fill(1), lr: 2 ** -9, seed: 1, step: 2 });
    expect([...rounded].map((x) => (x === 1 ? 1 : 0)).join("")).toBe("01100000011100010010110100011110");
  });
});
