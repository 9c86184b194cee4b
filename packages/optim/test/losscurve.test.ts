import { fileURLToPath } from "node:url";
import { Checkpoint } from "@slayer/checkpoint";
import { forward, forwardInputs, loadWeights } from "@slayer/model";
import {
  accumulateGradients,
  AdamW,
  companionName,
  learningRate,
  selectParameters,
  type Schedule,
} from "@slayer/optim";
import { createReferenceBackend, Graph, lmHeadLoss, planCost, Program, Store, sum } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import source from "../../../test/fixtures/losscurve/source.json" with { type: "json" };
import { readFixture, relativeError } from "../../../test/support/safetensors.js";

const root = fileURLToPath(new URL("../../../test/fixtures/losscurve/", import.meta.url));
const { lr, final, warmup, weight_decay, betas, eps } = source.hyperparameters;
const runs = [
  { run: "blocks", patterns: ["model.layers.1", "model.layers.2"], clip: source.runs.blocks.clip },
  { run: "all", patterns: ["*"], clip: source.runs.all.clip },
];

describe("12 steps give the numbers of PyTorch's AdamW on Transformers' model", () => {
  it.each(runs)(
    "$run trainable: losses ≤ 1e-5, first gradients and final weights ≤ 1e-4 relative",
    async ({ run, patterns, clip }) => {
      const checkpoint = await Checkpoint.open(`${root}model`);
      const expected = await readFixture(`${root}expected.${run}.safetensors`);
      const batches = await readFixture(`${root}batches.safetensors`);
      const [steps, batch, length] = batches.get("input_ids")!.shape as [number, number, number];
      const store = new Store(createReferenceBackend());

      const graph = new Graph();
      const { final: hidden, head } = forward(graph, checkpoint.config, { batch, length });
      const loss = sum(lmHeadLoss(hidden, head, graph.input("targets", [batch, length], "i32")));
      const parameters = [...graph.persistent.values()].filter((t) => t.role === "parameter");
      const names = selectParameters(
        parameters.map((t) => t.name),
        patterns,
      );
      const trainable = parameters.filter((t) => names.includes(t.name));
      const options = { betas: [betas[0]!, betas[1]!] as const, eps, weightDecay: weight_decay, clip };
      const optimizer = await AdamW.create(store, trainable, options);
      await loadWeights(checkpoint, store);
      accumulateGradients(loss, trainable, { recompute: () => true });
      const program = await Program.compile(graph, { loss }, store);

      const schedule: Schedule = { name: "cosine", warmup, final };
      for (let s = 0; s < steps; s++) {
        const slice = (key: string) =>
          (batches.get(key)!.data as Int32Array).slice(s * batch * length, (s + 1) * batch * length);
        const targets = slice("targets");
        const scored = targets.filter((t) => t >= 0).length;
        await program.run({ ...forwardInputs(checkpoint.config, slice("input_ids"), { batch, length }), targets });
        expect(
          relativeError([(await program.read("loss"))[0]! / scored], [expected.get("losses")!.data[s]!]),
        ).toBeLessThanOrEqual(1e-5);
        if (s === 0) {
          for (const name of names) {
            const ours = (await store.read(companionName("gradient", name))).map((g) => g / scored);
            expect(relativeError(ours, expected.get(`grad.${name}`)!.data), name).toBeLessThanOrEqual(1e-4);
          }
        }
        const rate = learningRate(schedule, lr, s, steps);
        expect(relativeError([rate], [expected.get("lrs")!.data[s]!])).toBeLessThanOrEqual(1e-6);
        const norm = await optimizer.step(s, rate, 1 / scored);
        expect(relativeError([norm], [expected.get("grad_norms")!.data[s]!])).toBeLessThanOrEqual(1e-4);
      }
      for (const name of names) {
        expect(relativeError(await store.read(name), expected.get(`final.${name}`)!.data), name).toBeLessThanOrEqual(
          1e-4,
        );
      }
      expect(planCost(program.plan).recomputedFlops).toBeGreaterThan(0);
      await checkpoint.close();
    },
  );
});
