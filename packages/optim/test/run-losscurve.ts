import { fileURLToPath } from "node:url";
import { Checkpoint } from "@slayer/checkpoint";
import { forward, forwardInputs, loadWeights } from "@slayer/model";
import { accumulateGradients, AdamW, companionName, learningRate, selectParameters } from "@slayer/optim";
import { type Backend, Graph, lmHeadLoss, planCost, Program, Store, sum } from "@slayer/tensor";
import source from "../../../test/fixtures/losscurve/source.json" with { type: "json" };
import { readFixture, relativeError } from "../../../test/support/safetensors.js";

const root = fileURLToPath(new URL("../../../test/fixtures/losscurve/", import.meta.url));

export interface CurveOptions {
  /** The files of test/fixtures/losscurve: what comes out, and of which batches. */
  readonly expected: string;
  readonly batches: string;
  readonly patterns: readonly string[];
  readonly settings: { lr: number; final: number; warmup: number; weight_decay: number; betas: number[]; eps: number };
  readonly clip: number;
}

/** Largest differences between a run here and the same run of PyTorch and Transformers; relative but for `loss`. */
export interface Differences {
  /** Nats. */
  loss: number;
  relativeLoss: number;
  lr: number;
  norm: number;
  /** Of the first step's, by parameter: the largest. */
  gradient: number;
  /** Of the weights at the end, where the fixture has them. */
  final: number;
  losses: number[];
}

export const settings = source.hyperparameters;
export const longSettings = source.long;

/** Trains on the fixture's batches, in their order. */
export async function compareCurve(backend: Backend, options: CurveOptions): Promise<Differences> {
  const { lr, final, warmup, weight_decay: weightDecay, betas, eps } = options.settings;
  const checkpoint = await Checkpoint.open(`${root}model`);
  const expected = await readFixture(`${root}${options.expected}`);
  const batches = await readFixture(`${root}${options.batches}`);
  const [steps, batch, length] = batches.get("input_ids")!.shape as [number, number, number];
  const store = new Store(backend);

  const graph = new Graph();
  const { final: hidden, head } = forward(graph, checkpoint.config, { batch, length });
  const loss = sum(lmHeadLoss(hidden, head, graph.input("targets", [batch, length], "i32")));
  const parameters = [...graph.persistent.values()].filter((t) => t.role === "parameter");
  const names = selectParameters(
    parameters.map((t) => t.name),
    options.patterns,
  );
  const trainable = parameters.filter((t) => names.includes(t.name));
  const optimizer = await AdamW.create(store, trainable, {
    ...{ betas: [betas[0]!, betas[1]!], eps, weightDecay, clip: options.clip },
  });
  await loadWeights(checkpoint, store);
  accumulateGradients(loss, trainable, { recompute: () => true });
  const program = await Program.compile(graph, { loss }, store);
  if (planCost(program.plan).recomputedFlops === 0) throw new Error("recomputation was to be part of the test");

  const schedule = { name: "cosine", warmup, final } as const;
  const worst: Differences = { loss: 0, relativeLoss: 0, lr: 0, norm: 0, gradient: 0, final: 0, losses: [] };
  const note = (key: Exclude<keyof Differences, "losses">, value: number) => {
    worst[key] = Math.max(worst[key], value);
  };
  const at = (key: string, s: number) => expected.get(key)!.data[s]!;
  for (let s = 0; s < steps; s++) {
    const slice = (key: string) =>
      (batches.get(key)!.data as Int32Array).slice(s * batch * length, (s + 1) * batch * length);
    const targets = slice("targets");
    const scored = targets.filter((t) => t >= 0).length;
    await program.run({ ...forwardInputs(checkpoint.config, slice("input_ids"), { batch, length }), targets });
    const ours = (await program.read("loss"))[0]! / scored;
    worst.losses.push(ours);
    note("loss", Math.abs(ours - at("losses", s)));
    note("relativeLoss", relativeError([ours], [at("losses", s)]));
    if (s === 0) {
      for (const name of names) {
        const gradient = (await store.read(companionName("gradient", name))).map((g) => g / scored);
        note("gradient", relativeError(gradient, expected.get(`grad.${name}`)!.data));
      }
    }
    const rate = learningRate(schedule, lr, s, steps);
    note("lr", relativeError([rate], [at("lrs", s)]));
    note("norm", relativeError([await optimizer.step(s, rate, 1 / scored)], [at("grad_norms", s)]));
  }
  for (const name of names) {
    const end = expected.get(`final.${name}`);
    if (end) note("final", relativeError(await store.read(name), end.data));
  }
  program.free();
  optimizer.free();
  store.free();
  await checkpoint.close();
  return worst;
}
