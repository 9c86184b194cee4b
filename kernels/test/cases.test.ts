import { cases, evaluate, makeInputs } from "@slayer/kernels";
import { definitionOf, ops } from "@slayer/tensor";
import { describe, expect, it } from "vitest";

const small = cases.filter((c) => !c.bench);

const has = (op: string, test: (c: (typeof cases)[number]) => boolean) => cases.some((c) => c.op === op && test(c));

describe("cases", () => {
  it("cover every op of the vocabulary, for conformance and, but for the scalar clip_factor, for the bench", () => {
    const vocabulary = Object.keys(ops).toSorted();
    expect([...new Set(small.map((c) => c.op))].toSorted()).toEqual(vocabulary);
    const timed = new Set(cases.filter((c) => c.bench).map((c) => c.op));
    expect([...timed, "clip_factor"].toSorted()).toEqual(vocabulary);
  });

  it("have unique names that start with their op's", () => {
    expect(new Set(cases.map((c) => c.name)).size).toBe(cases.length);
    expect(cases.filter((c) => c.name.split(" ")[0] !== c.op).map((c) => c.name)).toEqual([]);
  });

  it.each(cases.map((c) => [c.name, c] as const))(
    "%s fits its op's shape rule",
    (_, { op, attrs, inputs, tolerance }) => {
      expect(() => definitionOf(op).infer(inputs, attrs)).not.toThrow();
      expect(tolerance.value).toBeGreaterThanOrEqual(0);
      expect(tolerance.reason).not.toBe("");
    },
  );

  it.each(small.map((c) => [c.name, c] as const))("%s has the same values each time, all finite", (_, kernelCase) => {
    const values = makeInputs(kernelCase);
    const again = makeInputs(kernelCase);
    expect(again.every((v, i) => Buffer.from(v.buffer).equals(Buffer.from(values[i]!.buffer)))).toBe(true);
    // But for the log-sum-exp of logits that are meant to be infinite.
    const meant = (i: number) => kernelCase.name.includes("infinite") && kernelCase.inputs[i]!.fill.kind === "forward";
    expect(values.every((v, i) => meant(i) || v.every((x) => Number.isFinite(x)))).toBe(true);
  });

  it("cover the variants that kernels specialise on", () => {
    for (const op of ["attention", "attention_backward"]) {
      expect(has(op, (c) => c.attrs.segments === true)).toBe(true);
      expect(has(op, (c) => (c.attrs.window as number) > 0)).toBe(true);
      expect(has(op, (c) => c.attrs.heads !== c.attrs.kvHeads)).toBe(true);
      for (const scale of [64 ** -0.5, 128 ** -0.5]) expect(has(op, (c) => c.attrs.scale === scale)).toBe(true);
    }
    expect(has("attention", (c) => c.attrs.offset === true && c.inputs[0]!.shape[1] === 1)).toBe(true);
    for (const a of [true, false])
      for (const b of [true, false])
        expect(has("matmul", (c) => c.attrs.transposeA === a && c.attrs.transposeB === b)).toBe(true);
    expect(has("rope", (c) => c.attrs.inverse === true)).toBe(true);
  });
});

describe("values", () => {
  const attention = cases.find((c) => c.name.startsWith("attention_backward") && c.attrs.segments === true)!;

  it("segments count up from 0 in each row", () => {
    const [B, T] = attention.inputs[6]!.shape as [number, number];
    const segments = makeInputs(attention)[6]!;
    for (let b = 0; b < B; b++) {
      expect(segments[b * T]).toBe(0);
      for (let t = 1; t < T; t++) expect([0, 1]).toContain(segments[b * T + t]! - segments[b * T + t - 1]!);
      expect(segments[b * T + T - 1]).toBeGreaterThan(0);
    }
  });

  it("forward fills are what the forward op gives: attention's rows of weights sum to 1 (1e-6)", () => {
    // With v = 1 everywhere, o must be 1; with the case's lse, Σ_j exp(q·k·scale − lse) must be 1 too.
    const { heads: H, kvHeads: K, scale } = attention.attrs as { heads: number; kvHeads: number; scale: number };
    const [, q, k, , , lse, segments] = makeInputs(attention);
    const [, T, width] = attention.inputs[1]!.shape as [number, number, number];
    const E = width / H;
    for (const [h, i] of [
      [0, 0],
      [1, 5],
      [H - 1, T - 1],
    ] as const) {
      const kvHead = Math.floor(h / (H / K));
      const [lo] = [
        (attention.attrs.window as number) > 0 ? Math.max(0, i - (attention.attrs.window as number) + 1) : 0,
      ];
      let total = 0;
      for (let j = lo; j <= i; j++) {
        if (segments![i] !== segments![j]) continue;
        let dot = 0;
        for (let e = 0; e < E; e++) dot += q![(i * H + h) * E + e]! * k![(j * K + kvHead) * E + e]!;
        total += Math.exp(dot * scale - lse![h * T + i]!);
      }
      expect(Math.abs(total - 1)).toBeLessThan(1e-6);
    }
  });

  it("normal values have mean 0 and variance 1 (±0.05 over 16384)", () => {
    const big = [...makeInputs(cases.find((c) => c.name === "swiglu 64×256")!)[0]!];
    const mean = big.reduce((a, b) => a + b, 0) / big.length;
    const variance = big.reduce((a, b) => a + (b - mean) ** 2, 0) / big.length;
    expect(Math.abs(mean)).toBeLessThan(0.05);
    expect(Math.abs(variance - 1)).toBeLessThan(0.05);
  });

  it("evaluate leaves its operands alone and returns changed state apart", () => {
    const data = Float32Array.of(1, 2);
    const { inputs } = evaluate("clear", {}, [{ data, shape: [2] }]);
    expect([...data]).toEqual([1, 2]);
    expect([...inputs[0]!.data]).toEqual([0, 0]);
  });
});
