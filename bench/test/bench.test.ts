import { cases } from "@slayer/kernels";
import { createReferenceBackend } from "@slayer/tensor";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { prepare, sample } from "../src/measure.js";
import { formatTable, resultPath, type Row, slug, writeResults } from "../src/report.js";
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

const timed: Row = {
  name: "matmul NT 2×2×2",
  medianSeconds: 0.0125,
  spread: 0.031,
  samples: 40,
  bound: "compute",
  flops: 2.5e9,
  bandwidth: 1e8,
  share: 0.25,
};

describe("report", () => {
  it("prints aligned columns, and what is not supported in words", () => {
    const elementwise: Row = { ...timed, name: "add 3", flops: 0, bound: "memory" };
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
      await writeResults(path, "reference", peaks, [timed]);
      expect(JSON.parse(await readFile(path, "utf8"))).toMatchObject({ backend: "reference", peaks, rows: [timed] });
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
