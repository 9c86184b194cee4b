import { blockName, blockTensors, Checkpoint, expectedTensors } from "@slayer/checkpoint";
import { blockDrops, type Change, type DropScores, type SequenceBatch, sweepEvaluations } from "@slayer/importance";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { fixtures, loadFixture } from "./models.js";
import { ALL, naive, naiveDrops, randomModel, recipe } from "./naive.js";

/** A backend that counts what runs on it, and the most memory that was in use for weights and all else. */
function instrumented() {
  const backend = createReferenceBackend();
  const sizes = new Map<unknown, number>();
  const seen = { blocks: 0, bytes: 0, mostBytes: 0, written: new Map<number, number>() };
  const counting: Backend = {
    ...backend,
    allocate: (bytes) => {
      const buffer = backend.allocate(bytes);
      sizes.set(buffer, bytes);
      seen.bytes += bytes;
      seen.mostBytes = Math.max(seen.mostBytes, seen.bytes);
      return buffer;
    },
    free: (buffer) => {
      seen.bytes -= sizes.get(buffer) ?? NaN;
      sizes.delete(buffer);
    },
    run: (executable, signal) => {
      seen.blocks += executable.plan.steps.filter(({ op }) => op === "attention").length;
      return backend.run(executable, signal);
    },
  };
  return { backend: counting, seen };
}

const values = ({ blocks }: DropScores) => blocks.map(({ value }) => value);

describe("equal bit for bit, on the reference backend, to putting each variant together and running it whole", () => {
  it.each(["llama-gqa", "llama-tied", "llama-bias", "llama-rope-llama3", "mistral-window"])("%s", async (name) => {
    const { config, store, ids, batch, length } = await loadFixture(name);
    const batches = [{ ids, batch, length }];
    const swept = await blockDrops(config, store, { unit: "loss", batches }, ALL);
    for (const [i, change] of ALL.entries()) {
      const wanted = await naiveDrops(config, store, batches, change);
      expect(values(swept[i]!)).toEqual(wanted.values);
      expect(swept[i]!.base).toBe(wanted.base);
    }
    expect(swept.map(({ metric, init }) => [metric, init])).toEqual([
      ["removal", null],
      ["insertion", "copy"],
      ["insertion", "average"],
    ]);
  });

  it("streamed, two batches of different shapes, one sweep alone: still the same bits", async () => {
    const { config, store, ids, length } = await loadFixture("llama-gqa");
    const batches = [
      { ids: ids.slice(0, 22), batch: 2, length: 11 },
      { ids: ids.slice(length), batch: 1, length },
    ];
    const read = async (name: string) => (await store.read(name)) as Float32Array;
    const streamed = { backend: createReferenceBackend(), read };
    for (const change of ALL) {
      const wanted = await naiveDrops(config, store, batches, change);
      const [scores] = await blockDrops(config, streamed, { unit: "loss", batches }, [change]);
      expect(values(scores!)).toEqual(wanted.values);
      const [resident] = await blockDrops(config, store, { unit: "loss", batches }, [change]);
      expect(scores).toEqual(resident);
    }
  });
});

describe("cost, counted at the backend", () => {
  it("32 blocks: 1,583 block evaluations for all three sweeps, 528 for removal, where whole runs take 3,103", async () => {
    const { backend, seen } = instrumented();
    const { config, store } = await randomModel(32, backend);
    const batches = [{ ids: Int32Array.of(3, 1, 4), batch: 1, length: 3 }];
    const before = seen.bytes;
    const progress: number[] = [];
    const onProgress = (n: number) => progress.push(n);
    const swept = await blockDrops(config, store, { unit: "loss", batches }, ALL, { onProgress });
    expect(seen.blocks).toBe(1583);
    expect(sweepEvaluations(32, ALL)).toBe(1583);
    expect([progress.length, progress.at(-1)]).toEqual([1583, 1583]);
    expect(seen.bytes).toBe(before);
    expect(swept.map(({ blocks }) => blocks.length)).toEqual([32, 32, 31]);

    seen.blocks = 0;
    await blockDrops(config, store, { unit: "loss", batches }, ["removal"]);
    expect([seen.blocks, sweepEvaluations(32, ["removal"])]).toEqual([528, 528]);

    const whole = [
      recipe(32, "none", 0),
      ...ALL.flatMap((c) => swept[ALL.indexOf(c)]!.blocks.map((_, l) => recipe(32, c, l))),
    ];
    expect(whole.reduce((sum, { length }) => sum + length, 0)).toBe(3103);
    const row = await naive(config, store, recipe(32, "average", 20), batches[0]!);
    const base = await naive(config, store, recipe(32, "none", 0), batches[0]!);
    expect(swept[2]!.blocks[20]!.value).toBe((row[0]! - base[0]!) / 2);
  });

  it("streamed: each tensor is read once per batch, or for all that go together, and the device never holds two blocks", async () => {
    const { backend, seen } = instrumented();
    const { config, store } = await randomModel(6, createReferenceBackend(), 64);
    const reads = new Map<string, number>();
    const read = async (name: string) => {
      reads.set(name, (reads.get(name) ?? 0) + 1);
      return (await store.read(name)) as Float32Array;
    };
    const batch = { ids: Int32Array.of(3, 1), batch: 1, length: 2 };
    const data = { unit: "loss" as const, batches: [batch, batch] };
    const apart = await blockDrops(config, { backend, read }, data, ALL);
    expect([...reads.keys()].toSorted()).toEqual([...expectedTensors(config).keys()].toSorted());
    expect(new Set(reads.values())).toEqual(new Set([2]));
    reads.clear();
    expect(await blockDrops(config, { backend, read }, data, ALL, { together: 2 })).toEqual(apart);
    expect(new Set(reads.values())).toEqual(new Set([1]));
    expect(seen.bytes).toBe(0);
    let blockBytes = 0;
    for (const shape of blockTensors(config).values()) blockBytes += 4 * shape.reduce((a, b) => a * b);
    expect(seen.mostBytes).toBeLessThan(1.5 * blockBytes); // the half is padding and the states of two tokens
  });
});

describe("averaged blocks", () => {
  it("are rounded to the checkpoint's type: those of a bf16 model differ from f32 means, and are bf16", async () => {
    const checkpoint = await Checkpoint.open(`${fixtures}llama-gqa-bf16`);
    const { config, store, ids, batch, length } = await loadFixture("llama-gqa-bf16");
    const written: Float32Array[] = [];
    const reference = createReferenceBackend();
    const backend: Backend = {
      ...reference,
      write: (buffer, offset, data) => {
        if (data instanceof Float32Array) written.push(data.slice());
        if (data instanceof Uint16Array)
          written.push(new Float32Array(Uint32Array.from(data, (half) => half << 16).buffer));
        return reference.write(buffer, offset, data);
      },
    };
    const read = async (name: string) => (await store.read(name)) as Float32Array;
    const data = { unit: "loss" as const, batches: [{ ids, batch, length }] };
    const storedAs = (name: string) => {
      const { dtype } = checkpoint.info(name);
      return dtype === "BF16" ? dtype : "F32";
    };
    const [exact] = await blockDrops(config, store, data, ["average"]);
    const [rounded] = await blockDrops(config, { backend, read }, data, ["average"], { storedAs });
    expect(values(rounded!)).not.toEqual(values(exact!));
    const suffix = "mlp.down_proj.weight";
    const [a, b] = [await read(blockName(0, suffix)), await read(blockName(1, suffix))];
    // Round to nearest, ties to even, on the bits.
    const mean = a.map((value, i) => {
      const bits = new Uint32Array(Float32Array.of((value + b[i]!) / 2).buffer)[0]!;
      const nearest = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
      return new Float32Array(Uint32Array.of(nearest).buffer)[0]!;
    });
    expect(
      written.some((tensor) => tensor.length === mean.length && tensor.every((value, i) => value === mean[i])),
    ).toBe(true);
    await checkpoint.close();
  });
});

describe("intervals", () => {
  it("are paired: what every sequence loses alike has no spread; one sequence has no interval", async () => {
    const { config, store, ids, length } = await loadFixture("llama-mha");
    const one = { ids: ids.slice(0, length), batch: 1, length };
    const [same] = await blockDrops(config, store, { unit: "loss", batches: [one, one, one] }, ["removal"]);
    for (const { value, low, high } of same!.blocks) {
      expect(low).toBeCloseTo(value, 12);
      expect(high).toBeCloseTo(value, 12);
    }
    const [alone] = await blockDrops(config, store, { unit: "loss", batches: [one] }, ["removal"]);
    expect(alone!.blocks.map(({ low, high }) => [low, high])).toEqual(alone!.blocks.map(() => [null, null]));
    expect([alone!.samples, alone!.tokens, alone!.settled]).toEqual([1, length - 1, null]);
  });

  it("a block that adds nothing can go: its drop is 0 exactly, removed or copied", async () => {
    const { config, store, ids, batch, length } = await loadFixture("llama-gqa");
    for (const name of ["self_attn.o_proj", "mlp.down_proj"]) {
      const weight = `model.layers.1.${name}.weight`;
      await store.write(
        weight,
        (await store.read(weight)).map(() => 0),
      );
    }
    const scores = await blockDrops(config, store, { unit: "loss", batches: [{ ids, batch, length }] }, [
      "removal",
      "copy",
    ]);
    for (const { blocks } of scores) {
      expect(blocks[1]).toEqual({ block: 1, value: 0, low: 0, high: 0 });
      expect(blocks[0]!.value).not.toBe(0);
    }
  });
});

describe("refuses", () => {
  it.each<[string, readonly Change[], Parameters<typeof blockDrops>[4], RegExp]>([
    ["no change", [], {}, /one or more different changes, got none/],
    ["a change twice", ["copy", "copy"], {}, /different changes, got copy, copy/],
    ["a level of 1", ["copy"], { untilSettled: { level: 1 } }, /level must be between 0 and 1/],
    [
      "deciding all blocks",
      ["copy"],
      { untilSettled: { level: 0.9, least: 2 } },
      /least must be an integer from 1 to 1/,
    ],
    ["a seed that is none", ["copy"], { seed: -1 }, /seed must be/],
  ])("%s", async (_, changes, options, message) => {
    const { config, store, ids, batch, length } = await loadFixture("llama-mha");
    const data = { unit: "loss" as const, batches: [{ ids, batch, length }] };
    await expect(blockDrops(config, store, data, changes, options)).rejects.toThrow(message);
  });

  it("no data, a sequence of one token, and weights that are not finite", async () => {
    const { config, store, ids, batch, length } = await loadFixture("llama-mha");
    const drops = (batches: SequenceBatch[]) => blockDrops(config, store, { unit: "loss", batches }, ["removal"]);
    await expect(drops([])).rejects.toThrow(/nothing to measure/);
    await expect(drops([{ ids: ids.slice(0, 1), batch: 1, length: 1 }])).rejects.toThrow(/at least 2 tokens/);
    const weight = "model.layers.0.mlp.down_proj.weight";
    await store.write(weight, (await store.read(weight)).fill(Infinity));
    await expect(drops([{ ids, batch, length }])).rejects.toThrow(/a loss is not finite/);
  });
});
