import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addOrthogonality, columnsOf, rowsOf } from "../src/orthogonality.js";
import { budgetAt } from "../src/rank-schedule.js";

describe("AdaLoRA's budget", () => {
  it("falls as PEFT's does (budget_schedule of PEFT 0.21.0: 12 modules of rank 4 to 2, tinit 2, tfinal 3, 12 steps)", () => {
    const schedule = { tinit: 2, tfinal: 3, total: 12 };
    const budgets = Array.from({ length: 12 }, (_, i) => budgetAt(i + 1, schedule, 48, 24));
    expect(budgets).toEqual([48, 48, 39, 32, 28, 25, 24, 24, 24, 24, 24, 24]);
  });

  it("never rises, begins below the start and ends at the target, whatever the schedule", () => {
    const counts = fc.record({ tinit: fc.nat(1000), between: fc.integer({ min: 1, max: 1e6 }), tfinal: fc.nat(1000) });
    const ranks = fc.record({ to: fc.integer({ min: 1, max: 1e6 }), more: fc.integer({ min: 1, max: 1e6 }) });
    fc.assert(
      fc.property(counts, ranks, fc.double({ min: 0, max: 1, noNaN: true }), (times, { to, more }, share) => {
        const { tinit, between, tfinal } = times;
        const schedule = { tinit, tfinal, total: tinit + between + tfinal };
        const t = tinit + 1 + Math.floor(share * (between - 1));
        const [now, next] = [budgetAt(t, schedule, to + more, to), budgetAt(t + 1, schedule, to + more, to)];
        expect(now).toBeLessThan(to + more);
        expect(next).toBeLessThanOrEqual(now);
        expect(next).toBeGreaterThanOrEqual(to);
        expect(budgetAt(tinit, schedule, to + more, to)).toBe(to + more);
        expect(budgetAt(tinit + between, schedule, to + more, to)).toBe(to);
      }),
    );
  });
});

describe("the orthogonality penalty", () => {
  const sizes = fc.record({ rank: fc.integer({ min: 1, max: 5 }), length: fc.integer({ min: 1, max: 7 }) });
  const numbers = fc.array(fc.integer({ min: -8, max: 8 }), { minLength: 35, maxLength: 35 });

  it("is ‖V·Vᵀ − I‖, with its gradient by central differences to 1e-3 of the largest (f32 values, steps of 2⁻⁸)", () => {
    fc.assert(
      fc.property(sizes, numbers, fc.boolean(), ({ rank, length }, integers, rows) => {
        const values = Float32Array.from({ length: rank * length }, (_, i) => integers[i]! / 8);
        const of = (array: Float32Array) => (rows ? rowsOf(array, rank) : columnsOf(array, rank));
        const gradient = new Float32Array(values.length);
        const penalty = addOrthogonality(of(values), 3, gradient);
        const at = (k: number, i: number) => values[rows ? k * length + i : i * rank + k]!;
        let squares = 0;
        for (let k = 0; k < rank; k++) {
          for (let l = 0; l < rank; l++) {
            let dot = k === l ? -1 : 0;
            for (let i = 0; i < length; i++) dot += at(k, i) * at(l, i);
            squares += dot * dot;
          }
        }
        expect(penalty).toBeCloseTo(Math.sqrt(squares), 10);
        fc.pre(penalty > 0.5); // beside 0 it is no smooth function
        const step = 2 ** -8;
        const moved = (i: number, by: number) => {
          const copy = values.slice();
          copy[i]! += by;
          return addOrthogonality(of(copy), 0, new Float32Array(values.length));
        };
        const differences = values.map((_, i) => (3 * (moved(i, step) - moved(i, -step))) / (2 * step));
        const largest = Math.max(1, ...differences.map(Math.abs));
        differences.forEach((wanted, i) => expect(Math.abs(gradient[i]! - wanted)).toBeLessThan(1e-3 * largest));
      }),
    );
  });

  it("is 0 without a gradient for orthonormal vectors", () => {
    const gradient = new Float32Array(6);
    expect(addOrthogonality(rowsOf(Float32Array.of(1, 0, 0, 0, 0, -1), 2), 1, gradient)).toBe(0);
    expect(gradient.every((g) => g === 0)).toBe(true);
  });
});
