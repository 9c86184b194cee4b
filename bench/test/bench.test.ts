import { cases } from "@slayer/kernels";
import { createReferenceBackend } from "@slayer/tensor";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { execFile } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { prepare, sample } from "../src/measure.js";
import { processor, slug } from "../machine.mjs";
import { regressions, unknown } from "../src/check.js";
import { together } from "../src/rounds.js";
import { formatPeaks, formatTable, type Result, resultPath, type TimedRow, writeResult } from "../src/report.js";
import { roofline } from "../src/roofline.js";
import { median, quantile, spread } from "../src/statistics.js";

const peaks = { flops: 1e10, bandwidth: 2e9, method: "chosen" };

describe("statistics", () => {
  it("quantile interpolates as numpy.quantile does", () => {
    // numpy.quantile([3, 1, 4, 1, 5, 9], [0, .25, .5, .75, .9, 1])
    const values = [0, 0.25, 0.5, 0.75, 0.9, 1].map((p) => quantile([3, 1, 4, 1, 5, 9], p));
    expect(values).toEqual([1, 1.5, 3.5, 4.75, 7, 9]);
  });

  it("spread is the interquartile range over the median", () => {
    expect(median([4, 1, 2, 3, 5])).toBe(3);
    expect(spread([4, 1, 2, 3, 5])).toBe(2 / 3);
    expect(spread([7])).toBe(0);
  });

  it("of no values is an error", () => {
    expect(() => median([])).toThrow(RangeError);
  });
});

describe("roofline", () => {
  it("a product above the ridge is bound by compute: 4e9 FLOP in 0.8 s are half of 1e10 FLOP/s", () => {
    const line = roofline({ flops: 5e9, matmulFlops: 4e9, bytes: 4e8 }, 0.8, peaks);
    expect(line).toEqual({ bound: "compute", flops: 5e9, bandwidth: 5e8, share: 0.5 });
  });

  it("below it by memory: 1e9 bytes in 2 s are a quarter of 2e9 bytes/s", () => {
    const line = roofline({ flops: 1e9, matmulFlops: 1e9, bytes: 1e9 }, 2, peaks);
    expect(line).toEqual({ bound: "memory", flops: 5e8, bandwidth: 5e8, share: 0.25 });
  });
});

const timed: TimedRow = {
  name: "matmul NT 2×2×2",
  medianSeconds: 0.0125,
  quartiles: [0.0123, 0.0126875],
  samples: 40,
  bound: "compute",
  flops: 2.5e9,
  bandwidth: 1e8,
  share: 0.25,
};

const result = (rows: readonly TimedRow[], changed: Partial<typeof peaks> = {}): Result => ({
  backend: "reference",
  device: "JavaScript",
  cpu: processor(),
  node: "22.0.0",
  date: "2026-01-01T00:00:00.000Z",
  peaks: { ...peaks, ...changed },
  rows,
});

describe("check", () => {
  const slowed = (by: number, row = timed): TimedRow => ({
    ...row,
    medianSeconds: row.medianSeconds * by,
    quartiles: [row.quartiles[0] * by, row.quartiles[1] * by],
  });

  it("a kernel is slower if its first quartile is beyond 1.05 × the baseline's third", () => {
    // 0.0123 × 1.08 = 0.01328 is below 0.0126875 × 1.05 = 0.01332; 0.0123 × 1.09 = 0.01341 is above.
    expect(regressions(result([slowed(1.08)]), result([timed]))).toEqual([]);
    expect(regressions(result([slowed(1.09)]), result([timed]))).toEqual([
      { name: timed.name, before: 0.0125, now: 0.0125 * 1.09, allowed: 0.0126875 * 1.05 },
    ]);
  });

  it("a wide spread allows for more", () => {
    const wide: TimedRow = { ...timed, quartiles: [0.011, 0.015] };
    expect(regressions(result([slowed(1.2)]), result([wide]))).toEqual([]);
  });

  it("a machine whose peak is lower than on the day of the baseline is given as much longer, by the peak that binds", () => {
    const slow = result([slowed(1.5)], { flops: peaks.flops / 1.5 });
    expect(regressions(slow, result([timed]))).toEqual([]);
    expect(regressions(result([slowed(1.5)], { bandwidth: peaks.bandwidth / 1.5 }), result([timed]))).toHaveLength(1);
    expect(regressions(result([timed], { flops: peaks.flops * 2 }), result([timed]))).toEqual([]);
  });

  it("a baseline of several rounds: the one in the middle, with the quickest first and the slowest third quartile", () => {
    const rounds = [slowed(1.4), slowed(1), slowed(1.1)].map((row) => [row, { name: "none", unsupported: "why" }]);
    expect(together(rounds)).toEqual([
      { ...slowed(1.1), quartiles: [timed.quartiles[0], timed.quartiles[1] * 1.4], samples: 3 * timed.samples },
      { name: "none", unsupported: "why" },
    ]);
  });

  it("what the baseline does not know is named, and is no regression", () => {
    const other = { ...slowed(9), name: "new" };
    expect(regressions(result([other]), result([timed]))).toEqual([]);
    expect(unknown(result([other, timed]), result([timed]))).toEqual(["new"]);
  });

  it("the command: exit 1 against a baseline a hundred times as fast as this machine, 0 against one a hundred times as slow", async () => {
    const folder = await mkdtemp(join(tmpdir(), "bench-"));
    const bench = (...args: string[]) =>
      new Promise<{ code: number; output: string }>((resolve) => {
        const main = fileURLToPath(new URL("../dist/main.js", import.meta.url));
        const given = ["--filter", "accumulate 8192×768", "--seconds", "0.05", ...args];
        execFile(process.execPath, [main, ...given], (error, stdout, stderr) =>
          resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
        );
      });
    try {
      const path = (name: string) => join(folder, `${name}.json`);
      expect((await bench("--check", "--baseline", path("none"))).output).toMatch(/there is no baseline .* --save/);
      expect(await bench("--save", "--baseline", path("saved"))).toMatchObject({ code: 0 });
      const saved = JSON.parse(await readFile(path("saved"), "utf8")) as Result;
      const rows = saved.rows.filter((row): row is TimedRow => !("unsupported" in row));
      expect(rows.map(({ name }) => name)).toContain("accumulate 8192×768");
      await writeResult(path("fast"), { ...saved, rows: rows.map((row) => slowed(0.01, row)) });
      await writeResult(path("slow"), { ...saved, rows: rows.map((row) => slowed(100, row)) });
      const fast = await bench("--check", "--baseline", path("fast"));
      const slow = await bench("--check", "--baseline", path("slow"));
      expect(fast).toMatchObject({ code: 1, output: expect.stringContaining("SLOWER accumulate 8192×768") });
      expect(slow).toMatchObject({ code: 0, output: expect.stringContaining("nothing is slower") });
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe("report", () => {
  it("prints the roof and what it was measured from", () => {
    const details = [{ name: "avx2, 1 thread", what: "flops" as const, median: 9e9, spread: 0.02, best: 1e10 }];
    expect(formatPeaks({ ...peaks, details }).split("\n")).toEqual([
      "peak 10.00 GFLOP/s, 2.00 GB/s (chosen)",
      "  avx2, 1 thread: median 9.0 GFLOP/s, spread 2.0 %",
    ]);
  });

  it("prints aligned columns, and what is not supported in words", () => {
    const elementwise: TimedRow = { ...timed, name: "add 3", flops: 0, bound: "memory" };
    const table = formatTable([timed, elementwise, { name: "rope", unsupported: "no kernel" }]);
    expect(table.split("\n")).toEqual([
      "kernel              median  GFLOP/s  GB/s  spread         of peak",
      "matmul NT 2×2×2  12.500 ms     2.50  0.10   3.1 %  25.0 % compute",
      "add 3            12.500 ms        –  0.10   3.1 %   25.0 % memory",
      "rope             not supported: no kernel",
    ]);
  });

  it("names files after backend and processor", () => {
    expect(slug("Intel(R) Xeon(R) CPU @ 2.20GHz")).toBe("intel-xeon-cpu-2-20ghz");
    expect(resultPath("a/b.json", "reference")).toBe("a/b.json");
    expect(resultPath("results", "reference")).toMatch(/^results\/reference-[a-z0-9-]+\.json$/);
  });

  it("writes rows and peaks", async () => {
    const folder = await mkdtemp(join(tmpdir(), "bench-"));
    try {
      const path = join(folder, "new", "out.json");
      await writeResult(path, result([timed]));
      expect(JSON.parse(await readFile(path, "utf8"))).toEqual(result([timed]));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe("measure", () => {
  it("runs the case's program as often as it samples, and more", async () => {
    const prepared = await prepare(
      createReferenceBackend(),
      cases.find((c) => c.name === "matmul NN 17×33×65")!,
    );
    if ("unsupported" in prepared) throw new Error(prepared.unsupported);
    let runs = 0;
    const run = () => {
      runs++;
      return prepared.run();
    };
    const times = await sample(run, 0.05, 3);
    prepared.free();
    expect(times.length).toBeGreaterThanOrEqual(3);
    expect(runs).toBeGreaterThanOrEqual(times.length);
    expect(times.every((t) => t > 0)).toBe(true);
    expect(prepared.cost.flops).toBe(2 * 17 * 33 * 65);
  });

  it("passes on what goes wrong in a run", async () => {
    await expect(sample(() => Promise.reject(new Error("device lost")), 0.05, 3)).rejects.toThrow("device lost");
  });

  it("says what a backend does not support", async () => {
    const backend = { ...createReferenceBackend(), supports: () => "nothing is built" };
    expect(await prepare(backend, cases[0]!)).toEqual({ unsupported: "nothing is built" });
  });
});
