import { accumulateGradients, AdamW, companionName, parameterGroups } from "@slayer/optim";
import { createReferenceBackend, Graph, matmul, Program, Store, sum } from "@slayer/tensor";
import { describe, expect, it } from "vitest";

const [IN, OUT] = [6, 4];
const matrix = { name: "w", shape: [OUT, IN], dtype: "f32" as const };
const initial = Float32Array.from({ length: OUT * IN }, (_, i) => Math.sin(i));
const options = { betas: [0.9, 0.95] as const, eps: 1e-8, weightDecay: 0.1, clip: 1 };

/** loss = Σ x·wᵀ over the rows of x: a model whose gradient is known, on batches of any number of rows. */
async function program(store: Store, rows: number, dtype: "f32" | "bf16" = "f32", overwrite = false) {
  const graph = new Graph();
  const w = graph.parameter("w", matrix.shape, dtype);
  const loss = sum(matmul(graph.input("x", [rows, IN], "f32"), w, { transposeB: true }));
  accumulateGradients(loss, [matrix], { overwrite });
  return Program.compile(graph, { loss }, store);
}

const data = (rows: number) => Float32Array.from({ length: rows * IN }, (_, i) => Math.cos(3 * i));

describe("AdamW", () => {
  it("with groups: each at its own lr, equal to optimizing it alone", async () => {
    const names = ["a", "b"];
    const types = names.map((name) => ({ ...matrix, name }));
    const step = async (trainable: typeof types, groups: ReturnType<typeof parameterGroups>, lr: number) => {
      const store = new Store(createReferenceBackend());
      const optimizer = await AdamW.create(store, trainable, { ...options, clip: 0, groups });
      for (const { name } of trainable) {
        await store.write(name, initial);
        await store.write(companionName("gradient", name), data(OUT));
      }
      await optimizer.step(0, lr, 0.5);
      return store;
    };
    const rules = [{ parameters: ["a"] }, { parameters: ["b"], lr: 0.002, weightDecay: 0 }];
    const both = await step(types, parameterGroups(types, { lr: 0.01, weightDecay: 0.1, rules }), 0.01);
    const a = await step([types[0]!], parameterGroups([types[0]!], { lr: 0.01, weightDecay: 0.1 }), 0.01);
    const b = await step([types[1]!], parameterGroups([types[1]!], { lr: 0.002, weightDecay: 0 }), 0.002);
    expect(await both.read("a")).toEqual(await a.read("a"));
    expect(await both.read("b")).toEqual(await b.read("b"));
    expect(await both.read("b")).not.toEqual(await both.read("a"));
  });

  it("discard forgets gradients, and norm changes nothing", async () => {
    const store = new Store(createReferenceBackend());
    const optimizer = await AdamW.create(store, [matrix], options);
    await store.write("w", initial);
    await (await program(store, 3)).run({ x: data(3) });
    const norm = await optimizer.norm(0.5);
    expect(await optimizer.norm(0.5)).toBe(norm);
    expect(norm).toBeGreaterThan(0);
    await optimizer.discard();
    expect(await optimizer.norm(0.5)).toBe(0);
    expect(await store.read("w")).toEqual(initial);
  });

  it("gradients that overwrite: the same bits as those added to zeros, also after a step of NaN, discarded or not", async () => {
    const run = async (overwrite: boolean, wrong?: "discarded" | "left") => {
      const store = new Store(createReferenceBackend({ poison: true }));
      const optimizer = await AdamW.create(store, [matrix], { ...options, overwrite });
      await store.write("w", initial);
      const micro = await program(store, 3, "f32", overwrite);
      for (let step = 0; step < 3; step++) {
        if (wrong && step > 0) {
          await micro.run({ x: data(3).map((x, i) => (i === 4 ? NaN : x)) });
          if (wrong === "discarded") await optimizer.discard();
        }
        await micro.run({ x: data(3) });
        await optimizer.step(step, 1e-2, 1);
      }
      return store.read("w");
    };
    const added = await run(false);
    expect(added).not.toEqual(initial);
    expect(await run(true)).toEqual(added);
    expect(await run(true, "discarded")).toEqual(added);
    expect(await run(true, "left")).toEqual(added);
  });

  it("bf16 working copies are the masters, rounded; the masters take the exact steps of f32 training", async () => {
    const run = async (working?: "bf16") => {
      const store = new Store(createReferenceBackend());
      const optimizer = await AdamW.create(store, [matrix], { ...options, ...(working && { working }) });
      await store.write(optimizer.masterName("w"), initial);
      await optimizer.roundMasters();
      // The gradient of this loss does not depend on w, so both runs get the same.
      const micro = await program(store, 3, working ?? "f32");
      for (let step = 0; step < 4; step++) {
        await micro.run({ x: data(3) });
        await optimizer.step(step, 1e-4, 1);
      }
      return { masters: await store.read(optimizer.masterName("w")), working: await store.read("w") };
    };
    const [f32, bf16] = [await run(), await run("bf16")];
    expect(bf16.masters).toEqual(f32.masters);
    expect(bf16.working).not.toEqual(bf16.masters);
    bf16.working.forEach((value, i) =>
      expect(Math.abs(value - bf16.masters[i]!)).toBeLessThanOrEqual(Math.abs(value) / 256),
    );
  });
});
