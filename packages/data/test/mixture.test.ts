import {
  Batches,
  type BatchSettings,
  Corpus,
  DataError,
  Pcg32,
  type Position,
  type WeightedSource,
} from "@slayer/data";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fillSequences } from "../src/packing/fill-sequences.js";

const EOS = 1;
const settings: BatchSettings = {
  sequenceLength: 8,
  batchSize: 1,
  mode: "documents",
  boundary: { after: EOS },
  shuffle: { documents: true, sequences: true },
  seed: 1,
};

/** A corpus whose tokens all are `id`, so that a token tells its source. */
function corpusOf(id: number, lengths: readonly number[]): Corpus {
  return Corpus.of(
    lengths.map((length) => new Int32Array(length).fill(id)),
    "no tokenizer",
  );
}

/** For each of `count` sequences how many tokens it has of each source. */
function sequences(sources: readonly WeightedSource[], changes: Partial<BatchSettings>, count: number): number[][] {
  const batches = new Batches(sources, { ...settings, ...changes });
  return Array.from({ length: count }, () => {
    const { inputIds, segments } = batches.next()!;
    const tokens = sources.map(() => 0);
    let source = -1;
    inputIds.forEach((id, t) => {
      if (id >= 100) source = id - 100;
      if (segments[t]! >= 0 && source >= 0) tokens[source]!++;
    });
    return tokens;
  });
}

/** The most that a source's tokens in any window of consecutive sequences differ from its share of the window's. */
function worstWindow(given: readonly number[][], shares: readonly number[], window: number): number {
  let worst = 0;
  const sums = shares.map(() => 0);
  given.forEach((tokens, i) => {
    tokens.forEach((n, s) => (sums[s]! += n - (given[i - window]?.[s] ?? 0)));
    if (i < window - 1) return;
    const all = sums.reduce((a, b) => a + b, 0);
    shares.forEach((share, s) => (worst = Math.max(worst, Math.abs(sums[s]! - share * all))));
  });
  return worst;
}

describe("mixing by token weight", () => {
  it("Math:Code 5:2, any window of 10 M tokens (2,442 sequences of 4,096): each within 1 % of its share; in fact 2 sequences", () => {
    const random = new Pcg32(3, 0);
    const lengths = (count: number): number[] => Array.from({ length: count }, () => 1 + random.below(3000));
    const sources = [
      { source: corpusOf(100, lengths(400)), weight: 5 },
      { source: corpusOf(101, lengths(1000)), weight: 2 },
    ];
    const given = sequences(sources, { sequenceLength: 4096 }, 3000);
    const worst = worstWindow(given, [5 / 7, 2 / 7], 2442);
    expect(worst).toBeLessThan(0.01 * 10e6 * (2 / 7));
    expect(worst).toBeLessThan(2 * 4096);
  }, 120_000);

  it("any weights of 2 to 5 sources, any mode, any window: within as many sequences as there are sources", () => {
    const source = fc.record({
      weight: fc.double({ min: 0.05, max: 20, noNaN: true }),
      lengths: fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 20 }),
    });
    fc.assert(
      fc.property(
        fc.array(source, { minLength: 2, maxLength: 5 }),
        fc.constantFrom("concatenate" as const, "documents" as const, "whole" as const),
        fc.integer({ min: 1, max: 120 }),
        (drawn, mode, window) => {
          const sources = drawn.map(({ weight, lengths }, i) => ({ weight, source: corpusOf(100 + i, lengths) }));
          const sum = drawn.reduce((total, { weight }) => total + weight, 0);
          const given = sequences(sources, { mode, ...(mode === "whole" ? { boundary: {} } : {}) }, 200);
          // Boundary tokens at the beginning of a sequence are told by none of its ids: one token of slack per sequence's end.
          expect(
            worstWindow(
              given,
              drawn.map(({ weight }) => weight / sum),
              window,
            ),
          ).toBeLessThanOrEqual(8 * drawn.length + (mode === "whole" ? 0 : window));
        },
      ),
      { numRuns: 60 },
    );
  });

  it("epochs of each source are counted; a batch says which source its rows are of", () => {
    const sources = [
      { source: corpusOf(100, [7, 7]), weight: 3 },
      { source: corpusOf(101, Array<number>(20).fill(7)), weight: 1 },
    ];
    const batches = new Batches(sources, { ...settings, batchSize: 4 });
    const rows = Array.from({ length: 10 }, () => batches.next()!.sources).flat();
    expect(rows.filter((source) => source === 0).length).toBe(30);
    expect(batches.epochs()).toEqual([30 / 2, 10 / 20]);
  });

  it("resumed at any point through JSON, the same sequences follow; other weights or sources are an error", () => {
    const sources = (weight: number): WeightedSource[] => [
      { source: corpusOf(100, [3, 5, 9, 2, 30]), weight },
      { source: corpusOf(101, [4, 4, 8]), weight: 2 },
    ];
    fc.assert(
      fc.property(fc.nat({ max: 60 }), fc.constantFrom("documents" as const, "whole" as const), (steps, mode) => {
        const changed = { ...settings, mode, batchSize: 3, ...(mode === "whole" ? { boundary: {} } : {}) };
        const batches = new Batches(sources(5), changed);
        for (let i = 0; i < steps; i++) batches.next();
        const position = JSON.parse(JSON.stringify(batches.position())) as Position;
        const resumed = Batches.resume(sources(5), changed, position);
        for (let i = 0; i < 20; i++) expect(resumed.next()).toEqual(batches.next());
        expect(() => Batches.resume(sources(4), changed, position)).toThrow(/their weights changed/);
      }),
      { numRuns: 20 },
    );
    expect(() => new Batches([{ source: corpusOf(100, [3]), weight: -1 }], settings)).toThrow(DataError);
    expect(() => new Batches([], settings)).toThrow(DataError);
  });
});

describe("whole documents", () => {
  const whole = { ...settings, mode: "whole", boundary: {} } as const;

  it("any documents: each once per epoch, uncut where it fits, as a segment of its own", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 40 }), (lengths) => {
        const corpus = Corpus.of(
          lengths.map((length, i) => Int32Array.from({ length }, (_, t) => 1000 * (i + 1) + t)),
          "no tokenizer",
        );
        const batches = new Batches(corpus, { ...whole, epochs: 2 });
        const found: string[] = [];
        for (let batch = batches.next(); batch !== null; batch = batches.next()) {
          const { inputIds, segments, positions, targets } = batch;
          const ids = [...inputIds];
          for (let s = 0; segments.includes(s); s++) {
            const [first, last] = [segments.indexOf(s), segments.lastIndexOf(s)];
            const document = ids.slice(first, last + 1);
            expect([...positions.subarray(first, last + 1)]).toEqual(document.map((_, i) => i));
            expect([...targets.subarray(first, last + 1)]).toEqual([...document.slice(1), -100]);
            found.push(document.join());
          }
        }
        const expected = lengths
          .map((length, i) => Array.from({ length: Math.min(length, 8) }, (_, t) => 1000 * (i + 1) + t))
          .map(String);
        expect(found.toSorted()).toEqual([...expected, ...expected].toSorted());
        expect(batches.shortened()).toEqual({ truncated: lengths.filter((length) => length > 8).length, leftOut: 0 });
      }),
    );
  });

  it("3,000 documents of 20 to 2,000 tokens in sequences of 2,048: more than 99 % real tokens", () => {
    const random = new Pcg32(5, 0);
    const lengths = Array.from({ length: 3000 }, () => Math.round(20 * 100 ** (random.next() / 2 ** 32)));
    const batches = new Batches(corpusOf(7, lengths), { ...whole, sequenceLength: 2048, epochs: 1 });
    const real = lengths.reduce((sum, length) => sum + length, 0);
    expect(real / (2048 * batches.sequencesPerEpoch)).toBeGreaterThan(0.99);
  });

  it("any lengths: every item in one bin, none over its capacity, and of two bins one is more than half full", () => {
    const anyLengths = fc.array(fc.integer({ min: 1, max: 50 }), { maxLength: 80 });
    fc.assert(
      fc.property(anyLengths, fc.integer({ min: 50, max: 70 }), (lengths, capacity) => {
        const bins = fillSequences(lengths, capacity);
        expect(bins.flat().toSorted((a, b) => a - b)).toEqual([...lengths.keys()]);
        const full = bins.map((bin) => bin.reduce((sum, i) => sum + lengths[i]!, 0));
        full.forEach((sum, i) => {
          expect(sum).toBeLessThanOrEqual(capacity);
          if (i > 0) expect(sum + full[i - 1]!).toBeGreaterThan(capacity);
        });
      }),
    );
  });

  it("7,000 conversations of some 200 ± 80 tokens in sequences of 1,024: more than 99.5 % real tokens", () => {
    const random = new Pcg32(6, 0);
    const lengths = Array.from({ length: 7000 }, () => {
      const bell = Array.from({ length: 6 }, () => random.next() / 2 ** 32).reduce((a, b) => a + b) - 3;
      return Math.max(40, Math.round(200 + 110 * bell));
    });
    const real = lengths.reduce((sum, length) => sum + length, 0);
    expect(real / (1024 * fillSequences(lengths, 1024).length)).toBeGreaterThan(0.995);
  });

  it("context tokens (~id) are seen but not targets; what has no target left after cutting is left out", () => {
    const corpus = Corpus.of(
      [Int32Array.of(~5, ~6, 7, ~8, 9), Int32Array.of(...Array<number>(9).fill(~3), 4)],
      "no tokenizer",
    );
    const batches = new Batches(corpus, { ...whole, epochs: 1 });
    const { inputIds, targets } = batches.next()!;
    expect([...inputIds.subarray(0, 5)]).toEqual([5, 6, 7, 8, 9]);
    expect([...targets]).toEqual([-100, 7, -100, 9, -100, -100, -100, -100]);
    expect(batches.next()).toBeNull();
    const nothing = Corpus.of([new Int32Array(9).fill(~3)], "no tokenizer");
    expect(() => new Batches(nothing, whole)).toThrow(/no document has a token to predict within 8/);
  });

  it("streams never waste a position: every sequence of an endless run is full", () => {
    const batches = new Batches(corpusOf(7, [3, 1, 20, 2]), settings);
    for (let i = 0; i < 50; i++) expect(batches.next()!.segments.includes(-1)).toBe(false);
  });
});
