import { readdirSync } from "node:fs";
import { angularDistances, type AngularOptions, type AngularScores, type SequenceBatch } from "@slayer/importance";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { changeWeight, type Fixture, fixtures, largestDifference, loadFixture } from "./models.js";

const names = readdirSync(fixtures);

const measure = ({ config, store, ids, batch, length }: Fixture, options?: AngularOptions) =>
  angularDistances(config, store, [{ ids, batch, length }], options);

const dot = (a: number[], b: number[]) => a.reduce((sum, x, i) => sum + x * b[i], 0);

/** The entries above the diagonal, row by row. */
function upper(matrix: AngularScores["distances"]): number[] {
  return matrix.flatMap((row, l) => row.slice(l + 1));
}

function expectedUpper({ expected, config }: Fixture, key: string): number[] {
  const side = config.blocks + 1;
  const { data } = expected.get(key)!;
  return upper(Array.from({ length: side }, (_, l) => Array.from(data.subarray(l * side, (l + 1) * side))));
}

describe("distances that numpy computes from the hidden states of Transformers, absolute error ≤ 1e-4 (in π)", () => {
  it.each(names)("%s: at the last token, and averaged over all tokens", async (name) => {
    const fixture = await loadFixture(name);
    const last = await measure(fixture);
    const mean = await measure(fixture, { token: "mean" });
    expect(largestDifference(upper(last.distances), expectedUpper(fixture, "angular"))).toBeLessThanOrEqual(1e-4);
    expect(largestDifference(upper(mean.distances), expectedUpper(fixture, "angular_all_tokens"))).toBeLessThanOrEqual(
      1e-4,
    );
    expect([last.samples, last.tokens, mean.samples, mean.tokens]).toEqual([2, 2, 2, 40]);
  });

  it("normed on request: the last state after the final norm, by hand from Transformers' residual stream", async () => {
    const fixture = await loadFixture("llama-gqa");
    const { config, expected, store, batch, length } = fixture;
    const weight = await store.read("model.norm.weight");
    const row = (l: number, b: number) => {
      const from = ((b + 1) * length - 1) * config.hiddenSize;
      return Array.from(expected.get(`hidden.${l}`)!.data.subarray(from, from + config.hiddenSize));
    };
    const wanted = Array.from({ length: config.blocks }, (_, l) => {
      let sum = 0;
      for (let b = 0; b < batch; b++) {
        const x = row(l, b);
        const normed = row(config.blocks, b).map((value, i) => value * weight[i]!);
        sum += Math.acos(dot(x, normed) / Math.sqrt(dot(x, x) * dot(normed, normed))) / Math.PI / batch;
      }
      return sum;
    });
    const { distances, final } = await measure(fixture, { final: "normed" });
    const raw = await measure(fixture);
    const toLast = distances.slice(0, -1).map((d) => d.at(-1)!);
    expect(final).toBe("normed");
    expect(largestDifference(toLast, wanted)).toBeLessThanOrEqual(1e-4);
    expect(
      largestDifference(
        toLast,
        raw.distances.slice(0, -1).map((d) => d.at(-1)!),
      ),
    ).toBeGreaterThan(1e-3);
    expect(distances[0]![1]).toBe(raw.distances[0]![1]);
  });

  it("radians are π times as large, to 1e-12", async () => {
    const fixture = await loadFixture("mistral-gqa");
    const inPi = upper((await measure(fixture)).distances).map((d) => d * Math.PI);
    const { distances, unit } = await measure(fixture, { unit: "radians" });
    expect(unit).toBe("radians");
    expect(largestDifference(upper(distances), inPi)).toBeLessThanOrEqual(1e-12);
  });
});

describe("streamed", () => {
  it.each([
    ["llama-gqa", "last", "raw"],
    ["mistral-window", "mean", "raw"],
    ["llama-tied", "last", "normed"],
    ["llama-bias", "mean", "normed"],
  ] as const)("%s, token %s, last state %s: the same bits as with all weights at hand", async (name, token, final) => {
    const { config, store, ids, length } = await loadFixture(name);
    const batches = [
      { ids: ids.slice(0, 22), batch: 2, length: 11, lengths: [11, 4] },
      { ids: ids.slice(length), batch: 1, length },
    ];
    const resident = await angularDistances(config, store, batches, { token, final });
    const reads = new Map<string, number>();
    const read = async (tensor: string) => {
      reads.set(tensor, (reads.get(tensor) ?? 0) + 1);
      return (await store.read(tensor)) as Float32Array;
    };
    const streamed = { backend: createReferenceBackend(), read };
    expect(await angularDistances(config, streamed, batches, { token, final, together: 2 })).toEqual(resident);
    expect(new Set(reads.values())).toEqual(new Set([1]));
    expect(reads.has("model.norm.weight")).toBe(final === "normed");
  });
});

describe("what must hold in any model", () => {
  it("a block that adds nothing has distance 0 exactly, and is the first to go", async () => {
    const fixture = await loadFixture("llama-gqa");
    await changeWeight(fixture.store, "model.layers.1.self_attn.o_proj.weight", () => 0);
    await changeWeight(fixture.store, "model.layers.1.mlp.down_proj.weight", () => 0);
    for (const token of ["last", "mean"] as const) {
      const { distances, blocks, runs } = await measure(fixture, { token });
      expect(distances[1]![2]).toBe(0);
      expect(distances[0]![1]).toBe(distances[0]![2]);
      expect(distances[1]![3]).toBe(distances[2]![3]);
      expect(blocks[1]).toEqual({ block: 1, value: 0, low: 0, high: 0 });
      expect(blocks[0]!.value).toBeGreaterThan(0.01);
      expect(runs[0]).toEqual({ n: 1, start: 1, value: 0, low: 0, high: 0 });
    }
  });

  it("the matrix is symmetric with zeros on its diagonal; runs are the least of each n", async () => {
    const { distances, blocks, runs } = await measure(await loadFixture("llama-gqa"));
    for (const [l, row] of distances.entries()) {
      expect(row.map((_, m) => distances[m]![l])).toEqual(row);
      expect(row[l]).toBe(0);
    }
    expect(blocks.map((b) => b.value)).toEqual([0, 1, 2].map((l) => distances[l]![l + 1]));
    for (const { n, start, value } of runs) {
      expect(value).toBe(distances[start]![start + n]);
      for (let l = 0; l + n < distances.length; l++) expect(distances[l]![l + n]).toBeGreaterThanOrEqual(value);
    }
    expect(runs.map((run) => run.n)).toEqual([1, 2, 3]);
  });

  it("intervals of all pairs hold the distance and are symmetric; sequences that are alike have no spread", async () => {
    const { config, store, ids, length } = await loadFixture("llama-gqa");
    const sequence = (from: number) => ({ ids: ids.slice(from, from + 6), batch: 1, length: 6 });
    const starts = Array.from({ length: 12 }, (_, i) => 2 * i);
    const { distances, low, high, blocks, runs } = await angularDistances(config, store, starts.map(sequence));
    for (const [l, row] of distances.entries()) {
      for (const [m, d] of row.entries()) {
        expect(low![l]![m]).toBe(low![m]![l]);
        expect(high![l]![m]).toBe(high![m]![l]);
        if (l === m) expect([low![l]![m], d, high![l]![m]]).toEqual([0, 0, 0]);
        else expect([low![l]![m]! < d, d < high![l]![m]!]).toEqual([true, true]);
      }
    }
    expect(blocks.map((block) => [block.low, block.high])).toEqual(
      blocks.map((_, l) => [low![l]![l + 1], high![l]![l + 1]]),
    );
    expect(runs.map((run) => run.low)).toEqual(runs.map(({ n, start }) => low![start]![start + n]));
    const alike = await angularDistances(config, store, [0, 0, 0].map(sequence));
    expect(largestDifference(upper(alike.low!), upper(alike.high!))).toBeLessThanOrEqual(1e-15);
    expect(length).toBeGreaterThan(6);
  });

  it("all pairs come from one forward pass per batch, counted at the backend", async () => {
    const reference = createReferenceBackend();
    let blocks = 0;
    const counting: Backend = {
      ...reference,
      run(executable, signal) {
        blocks += executable.plan.steps.filter(({ op }) => op === "attention").length;
        return reference.run(executable, signal);
      },
    };
    const { config, store, ids, length } = await loadFixture("llama-gqa", counting);
    const batches = [0, 1, 2].map((from) => ({ ids: ids.slice(from, from + 6), batch: 1, length: 6 }));
    const { distances } = await angularDistances(config, store, batches);
    expect(distances.flat()).toHaveLength((config.blocks + 1) ** 2);
    expect(blocks).toBe(batches.length * config.blocks);
    expect(length).toBeGreaterThan(6);
  });

  it("one batch, two batches and an asynchronous source give the same scores, to 1e-12", async () => {
    const { config, store, ids, batch, length } = await loadFixture("llama-tied");
    const single = Array.from({ length: batch }, (_, b): SequenceBatch => ({
      ids: ids.slice(b * length, (b + 1) * length),
      batch: 1,
      length,
    }));
    async function* source() {
      await Promise.resolve();
      yield* single;
    }
    const together = await angularDistances(config, store, [{ ids, batch, length }]);
    const progress: number[] = [];
    const apart = await angularDistances(config, store, source(), { onProgress: (n) => progress.push(n) });
    expect(largestDifference(upper(apart.distances), upper(together.distances))).toBeLessThanOrEqual(1e-12);
    expect(
      largestDifference(
        apart.blocks.map((b) => b.low!),
        together.blocks.map((b) => b.low!),
      ),
    ).toBeLessThanOrEqual(1e-12);
    expect(progress).toEqual([1, 2]);
  });

  it.each(["last", "mean"] as const)("token %s: padding changes nothing, whatever ids stand in it", async (token) => {
    const { config, store, ids, length } = await loadFixture("llama-mha");
    const short = ids.slice(length, length + 7);
    const padded = Int32Array.from([...ids.slice(0, length), ...short, ...Array<number>(length - 7).fill(-100)]);
    const together = await angularDistances(config, store, [{ ids: padded, batch: 2, length, lengths: [length, 7] }], {
      token,
    });
    const apart = await angularDistances(
      config,
      store,
      [
        { ids: ids.slice(0, length), batch: 1, length },
        { ids: short, batch: 1, length: 7 },
      ],
      { token },
    );
    expect(together).toEqual(apart);
    expect(together.tokens).toBe(token === "last" ? 2 : length + 7);
  });

  it("one sequence has no interval", async () => {
    const { config, store, ids, length } = await loadFixture("llama-mha");
    const { blocks } = await angularDistances(config, store, [{ ids: ids.slice(0, length), batch: 1, length }]);
    for (const { low, high } of blocks) expect([low, high]).toEqual([null, null]);
  });
});

describe("cost", () => {
  it("one forward pass per batch, one program per shape in a row, last states only read back, all memory freed", async () => {
    const backend = createReferenceBackend();
    const live = new Set<unknown>();
    let [runs, bytesRead, prepared] = [0, 0, 0];
    const fixture = await loadFixture("llama-gqa", {
      ...backend,
      allocate: (bytes) => {
        const buffer = backend.allocate(bytes);
        live.add(buffer);
        return buffer;
      },
      free: (buffer) => void live.delete(buffer),
      prepare: (plan, bindings) => (prepared++, backend.prepare(plan, bindings)),
      run: (executable, signal) => (runs++, backend.run(executable, signal)),
      read: (buffer, offset, bytes) => ((bytesRead += bytes), backend.read(buffer, offset, bytes)),
    });
    const before = live.size;
    const { config, store, ids, batch, length } = fixture;
    const one = { ids: ids.slice(0, length), batch: 1, length };
    await angularDistances(config, store, [{ ids, batch, length }, one, one]);
    expect({ runs, prepared }).toEqual({ runs: 3, prepared: 2 });
    expect(bytesRead).toBe((config.blocks + 1) * 4 * config.hiddenSize * 4);
    expect(live.size).toBe(before);
  });

  it("stops when the signal says so", async () => {
    const { config, store, ids, batch, length } = await loadFixture("llama-mha");
    const controller = new AbortController();
    const batches = Array.from({ length: 3 }, (): SequenceBatch => ({ ids, batch, length }));
    const onProgress = () => controller.abort(new Error("enough"));
    const { signal } = controller;
    await expect(angularDistances(config, store, batches, { signal, onProgress })).rejects.toThrow("enough");
  });
});

describe("refuses", () => {
  const cases: [string, (f: Fixture) => SequenceBatch[], AngularOptions, RegExp][] = [
    ["no sequences", () => [], {}, /no sequences/],
    ["too few ids", ({ ids }) => [{ ids, batch: 3, length: 20 }], {}, /3 sequences of 20 tokens has 60 ids, got 40/],
    ["no ids", () => [{ ids: new Int32Array(), batch: 0, length: 20 }], {}, /got 0/],
    ["a length too many", ({ ids }) => [{ ids, batch: 2, length: 20, lengths: [1] }], {}, /2 lengths, got 1/],
    ["an empty sequence", ({ ids }) => [{ ids, batch: 2, length: 20, lengths: [3, 0] }], {}, /1 to 20 valid.*got 0/],
    [
      "an id outside the vocabulary",
      ({ ids }) => [{ ids: ids.with(3, 48), batch: 2, length: 20 }],
      {},
      /0 to 47, got 48; use the tokenizer/,
    ],
    ["no resamples", ({ ids }) => [{ ids, batch: 2, length: 20 }], { resamples: 0 }, /resamples must be .* got 0/],
  ];
  it.each(cases)("%s", async (_, batches, options, message) => {
    const fixture = await loadFixture("llama-mha");
    const scores = angularDistances(fixture.config, fixture.store, batches(fixture), options);
    await expect(scores).rejects.toMatchObject({ name: "ImportanceError", message: expect.stringMatching(message) });
  });

  it("weights that are not finite, naming the block after which it shows", async () => {
    const fixture = await loadFixture("llama-mha");
    await changeWeight(fixture.store, "model.layers.1.mlp.down_proj.weight", () => Infinity);
    await expect(measure(fixture)).rejects.toThrow(/after 2 blocks .* not finite/);
  });
});
