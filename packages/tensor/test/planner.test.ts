import { ALIGNMENT, type LiveRange, planMemory } from "@slayer/tensor";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const STEPS = 20;

const liveRange: fc.Arbitrary<LiveRange> = fc
  .tuple(fc.integer({ min: 1, max: 5000 }), fc.nat({ max: STEPS }), fc.nat({ max: STEPS }))
  .map(([bytes, a, b]) => ({ bytes, first: Math.min(a, b), last: Math.max(a, b) }));

const liveRanges = fc.array(liveRange, { maxLength: 40 });

const aligned = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

const total = (ranges: readonly LiveRange[]) => ranges.reduce((sum, r) => sum + aligned(r.bytes), 0);

const aliveAt = (ranges: readonly LiveRange[], step: number) => ranges.filter((r) => r.first <= step && step <= r.last);

/** Runs `check` for 500 random sets of ranges. */
const holds = (check: (ranges: LiveRange[]) => void) => fc.assert(fc.property(liveRanges, check), { numRuns: 500 });

describe("planMemory", () => {
  it("never lets two ranges overlap that are alive at the same step", () => {
    holds((ranges) => {
      const { offsets } = planMemory(ranges);
      for (let i = 0; i < ranges.length; i++) {
        for (let j = 0; j < i; j++) {
          const [a, b] = [ranges[i]!, ranges[j]!];
          if (a.last < b.first || b.last < a.first) continue;
          const apart = offsets[i]! + a.bytes <= offsets[j]! || offsets[j]! + b.bytes <= offsets[i]!;
          expect(apart).toBe(true);
        }
      }
    });
  });

  it(`aligns every offset to ${ALIGNMENT} bytes`, () => {
    holds((ranges) => {
      expect(planMemory(ranges).offsets.filter((o) => o % ALIGNMENT !== 0 || o < 0)).toEqual([]);
    });
  });

  it("gives one offset per range, and its size is exactly the end of the highest one, padded", () => {
    holds((ranges) => {
      const { offsets, bytes } = planMemory(ranges);
      expect(offsets.length).toBe(ranges.length);
      expect(bytes).toBe(Math.max(0, ...ranges.map((r, i) => offsets[i]! + aligned(r.bytes))));
    });
  });

  it("needs at most the sum of all ranges, and at least what is alive at once", () => {
    holds((ranges) => {
      const { bytes } = planMemory(ranges);
      expect(bytes).toBeLessThanOrEqual(total(ranges));
      for (let step = 0; step <= STEPS; step++) expect(bytes).toBeGreaterThanOrEqual(total(aliveAt(ranges, step)));
    });
  });

  it("is deterministic", () => {
    holds((ranges) => {
      expect(planMemory(ranges)).toEqual(planMemory(ranges));
    });
  });

  it("lets a chain, of which two neighbours are alive at a time, share two places", () => {
    const chain = Array.from({ length: 10 }, (_, i) => ({ bytes: 1000, first: i, last: i + 1 }));
    expect(planMemory(chain).bytes).toBe(2 * 1024);
  });

  it("takes the smallest gap that fits", () => {
    // Two long-lived ranges leave gaps of 1024 and 512 below them once their neighbours are gone.
    const ranges = [
      { bytes: 4096, first: 0, last: 0 }, // 0 … 4096, then free
      { bytes: 2048, first: 0, last: 9 }, // above it
      { bytes: 1024, first: 0, last: 0 }, // above that, then free
      { bytes: 768, first: 0, last: 9 }, // above that
      { bytes: 512, first: 5, last: 9 }, // fits the gap of 4096 and the one of 1024: the latter
    ];
    expect(planMemory(ranges)).toEqual({ offsets: [0, 4096, 6144, 7168, 6144], bytes: 7936 });
  });
});
