import { parseConfig } from "@slayer/checkpoint";
import { createCpuBackend } from "@slayer/backend-cpu";
import { forward, forwardInputs } from "@slayer/model";
import {
  type Backend,
  createReferenceBackend,
  differentiate,
  Graph,
  lmHeadLoss,
  Program,
  Store,
  sum,
  type TypedArray,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { relativeError } from "../../../test/support/safetensors.js";
import { isas, missing, note } from "./support/addon.js";

// Large enough that every kernel has work for several threads, small enough for the reference.
const config = parseConfig(
  {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    vocab_size: 257,
    hidden_size: 128,
    intermediate_size: 176,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    max_position_embeddings: 128,
  },
  "config.json",
);
const tokens = { batch: 3, length: 100 };
const ids = Int32Array.from({ length: 300 }, (_, i) => (i * 7919) % 257);
const targets = Int32Array.from({ length: 300 }, (_, i) => (i * 104_729) % 257);

/** Loss and gradients of all parameters, computed `times` times over the same memory. */
async function gradients(backend: Backend, times = 1): Promise<Record<string, TypedArray>[]> {
  const graph = new Graph();
  const { final, head } = forward(graph, config, tokens);
  const loss = sum(lmHeadLoss(final, head, graph.input("targets", [3, 100], "i32")));
  const parameters = [...graph.persistent.values()].filter((t) => t.role === "parameter");
  const derived = differentiate(loss, parameters);
  const outputs = { loss, ...Object.fromEntries(parameters.map((t, i) => [t.name, derived[i]!])) };
  const store = new Store(backend);
  for (const [p, { name, shape, dtype }] of parameters.entries()) {
    store.add({ name, shape, dtype });
    const size = shape.reduce((a, b) => a * b, 1);
    const center = shape.length === 1 ? 1 : 0; // the norms' weights
    await store.write(
      name,
      Float32Array.from({ length: size }, (_, i) => center + 0.3 * Math.sin(i * i * 0.37 + p)),
    );
  }
  const program = await Program.compile(graph, outputs, store);
  const results: Record<string, TypedArray>[] = [];
  for (let run = 0; run < times; run++) {
    await program.run({ ...forwardInputs(config, ids, tokens), targets });
    const result: Record<string, TypedArray> = {};
    for (const name of Object.keys(outputs)) result[name] = await program.read(name);
    results.push(result);
  }
  return results;
}

function worst(a: Record<string, TypedArray>, b: Record<string, TypedArray>): number {
  return Math.max(...Object.keys(b).map((name) => relativeError(a[name]!, b[name]!)));
}

describe.skipIf(missing !== undefined)(`a Llama's loss and all its gradients${note}`, () => {
  it.each(isas)("%s: relative error ≤ 1e-4 of the reference, ≤ 1e-5 between 1, 2 and 3 threads", async (isa) => {
    const [reference] = await gradients(createReferenceBackend());
    const byThreads: Record<string, TypedArray>[] = [];
    for (const threads of [1, 2, 3]) {
      const backend = await createCpuBackend({ isa, threads });
      byThreads.push(...(await gradients(backend)));
      await backend.close();
    }
    expect(worst(byThreads[0]!, reference!)).toBeLessThanOrEqual(1e-4);
    expect(worst(byThreads[1]!, byThreads[0]!)).toBeLessThanOrEqual(1e-5);
    expect(worst(byThreads[2]!, byThreads[0]!)).toBeLessThanOrEqual(1e-5);
  });

  it.each(isas)("%s: the same bits each time on 2 threads, in one backend and in another", async (isa) => {
    const backend = await createCpuBackend({ isa, threads: 2 });
    const other = await createCpuBackend({ isa, threads: 2 });
    const [first, ...others] = [...(await gradients(backend, 3)), ...(await gradients(other))];
    for (const result of others) expect(result).toEqual(first);
    await backend.close();
    await other.close();
  });
});
