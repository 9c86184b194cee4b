import { fileURLToPath } from "node:url";
import { createWebgpuBackend } from "@slayer/backend-webgpu";
import { Checkpoint } from "@slayer/checkpoint";
import { forward, forwardInputs, generate, loadWeights } from "@slayer/model";
import { type Backend, differentiate, Graph, lmHeadLoss, matmul, Program, Store, sum } from "@slayer/tensor";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readFixture, relativeError } from "../../../test/support/safetensors.js";
import { missing, note } from "./support/adapter.js";

const root = fileURLToPath(new URL("../../../test/fixtures/models/", import.meta.url));

/** Targets of the usual loss: the next token, none for the last. */
const shifted = (ids: Int32Array, length: number) => ids.map((_, i) => ((i + 1) % length === 0 ? -100 : ids[i + 1]!));

// The fixtures hold what Transformers computes; packages/model tests all of them on the reference backend.
describe.skipIf(missing !== undefined)(`models on WebGPU beside Transformers${note}`, () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await createWebgpuBackend();
  });
  afterAll(() => backend.close());

  const models = ["llama-gqa", "llama-bias", "mistral-window"];

  it.each(models)("%s: logits, loss and all gradients, relative error ≤ 1e-4 in f32", async (name) => {
    const checkpoint = await Checkpoint.open(root + name);
    const expected = await readFixture(`${root}${name}/expected.safetensors`);
    const { config } = checkpoint;
    const ids = expected.get("input_ids")!;
    const [batch, length] = ids.shape as [number, number];
    const store = new Store(backend);
    await loadWeights(checkpoint, store);
    const graph = new Graph();
    const { final, head } = forward(graph, config, { batch, length });
    const loss = sum(lmHeadLoss(final, head, graph.input("targets", [batch, length], "i32")));
    const parameters = [...graph.persistent.values()].filter((t) => t.role === "parameter");
    const gradients = differentiate(loss, parameters);
    const outputs = {
      loss,
      logits: matmul(final, head, { transposeB: true }),
      ...Object.fromEntries(parameters.map((t, i) => [`grad.${t.name}`, gradients[i]!])),
    };
    const program = await Program.compile(graph, outputs, store);
    const data = ids.data as Int32Array;
    await program.run({ ...forwardInputs(config, data, { batch, length }), targets: shifted(data, length) });
    // Our loss is the sum over scored tokens, theirs the mean.
    const scored = batch * (length - 1);
    for (const key of Object.keys(outputs)) {
      const scale = key === "logits" ? 1 : 1 / scored;
      const ours = (await program.read(key)).map((x) => x * scale);
      expect(relativeError(ours, expected.get(key)!.data), key).toBeLessThanOrEqual(1e-4);
    }
    await checkpoint.close();
  });

  it.each(models)("%s: greedy decoding with a KV cache gives the same ids", async (name) => {
    const checkpoint = await Checkpoint.open(root + name);
    const expected = await readFixture(`${root}${name}/expected.safetensors`);
    const store = new Store(backend);
    await loadWeights(checkpoint, store);
    const prompts = expected.get("greedy.prompt")!;
    const generated = expected.get("greedy.generated")!;
    const promptLength = prompts.shape[1]!;
    const maxTokens = generated.shape[1]!;
    const prompt = (prompts.data as Int32Array).slice(0, promptLength);
    const ids: number[] = [];
    for await (const id of generate(checkpoint.config, store, prompt, { maxTokens, stopIds: [] })) ids.push(id);
    expect(ids).toEqual([...generated.data.slice(0, maxTokens)]);
    await checkpoint.close();
  });
});
