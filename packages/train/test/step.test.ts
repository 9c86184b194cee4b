import { expectedTensors, parseConfig } from "@slayer/checkpoint";
import { forwardInputs } from "@slayer/model";
import { describePlan, planSlayer } from "@slayer/surgery";
import { AdamW, companionName } from "@slayer/optim";
import {
  createReferenceBackend,
  fusedOps,
  Program,
  Store,
  makePlan,
  planCost,
  type OpName,
  type Operand,
  type Plan,
  type Step,
} from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { checkRecipe } from "@slayer/train";
import { relativeError } from "../../../test/support/safetensors.js";
import { planRun } from "../src/predict.js";
import { recordMicroBatch } from "../src/setup.js";

const raw = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 8,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
};
const config = parseConfig(raw, "config.json");
const parameters = [...expectedTensors(config)].map(([name, shape]) => ({ name, shape, dtype: "f32" as const }));
const inBlocks = (...blocks: number[]) =>
  parameters.filter(({ name }) => blocks.some((l) => name.startsWith(`model.layers.${l}.`)));
const shape = { batch: 2, length: 16, segments: false, recompute: false, alone: false };

function planFor(trainable: typeof parameters): Plan {
  const { graph, loss } = recordMicroBatch(config, trainable, shape);
  return makePlan(graph, { loss });
}

const persistentName = (plan: Plan, { place }: Operand) =>
  place.in === "persistent" ? plan.persistent[place.index]!.name : "";
const blockNumber = (step: Step) => Number(step.scope?.replace("block.", "") ?? NaN);

describe("two of eight blocks trainable (2 and 6)", () => {
  const trainable = inBlocks(2, 6);
  const plan = planFor(trainable);
  const loss = plan.steps.findIndex(({ op }) => op === "sum");
  const backward = plan.steps.slice(loss + 1);

  it("accumulates a gradient for each trainable tensor and for no other", () => {
    const written = backward
      .filter(({ op }) => op === "accumulate")
      .map((step) => persistentName(plan, step.inputs[0]!));
    expect(written.toSorted()).toEqual(trainable.map(({ name }) => `gradient.of.${name}`).toSorted());
  });

  it("has no weight-gradient product outside the trainable blocks", () => {
    // dW = dYᵀ·x is the only product of the backward pass that transposes its first operand.
    const weightGradients = backward.filter(({ op, attrs }) => op === "matmul" && attrs.transposeA === true);
    expect(weightGradients.map(blockNumber).toSorted((a, b) => a - b)).toEqual([
      ...Array(7).fill(2),
      ...Array(7).fill(6),
    ]);
    expect(backward.some(({ op }) => op === "embedding_backward")).toBe(false);
    const head = backward.find(({ op }) => op === "lm_head_loss_backward")!;
    expect(head.attrs).toEqual({ hidden: true, weight: false });
    const normGradients = backward.filter(({ op }) => op === "rmsnorm_backward_weight");
    expect(normGradients.map(blockNumber).toSorted((a, b) => a - b)).toEqual([2, 2, 6, 6]);
  });

  it("differentiates nothing below the lowest trainable block", () => {
    const scopes = backward.map(blockNumber).filter((l) => !Number.isNaN(l));
    expect(Math.min(...scopes)).toBe(2);
    expect(new Set(scopes)).toEqual(new Set([2, 3, 4, 5, 6, 7]));
    // Nor is the gradient of block 2's own input computed.
    const ofInput = backward.filter((step) => step.op === "rmsnorm_backward_input" && blockNumber(step) === 2);
    expect(ofInput).toHaveLength(1);
  });

  it("where norms' gradients take the sum with the residual's in, no sum is left: one a norm, but for the last and the lowest", () => {
    const { graph, loss: nll } = recordMicroBatch(config, trainable, shape);
    const { steps } = makePlan(graph, { loss: nll }, ({ op }) => fusedOps.includes(op));
    const count = (op: OpName) => steps.filter((step) => step.op === op).length;
    // Blocks 2 to 7 have two norms each. Nothing passes the last norm by, and the gradient of block 2's input is not wanted.
    expect([count("rmsnorm_backward_input_add"), count("rmsnorm_backward_input"), count("add")]).toEqual([11, 1, 0]);
    const parts = plan.steps.filter(({ op }) => op === "rmsnorm_backward_input").length;
    expect(parts).toBe(12);
  });

  it("model FLOPs equal the formula exactly", () => {
    const [D, F, KE, V, T, L] = [32, 48, 16, 64, 16, 8];
    const tokens = 2 * T;
    const matrices = 2 * D * D + 2 * D * KE + 3 * D * F;
    const attention = 2 * T * D; // causal: two products of 2·D·T/2
    const forward = L * (2 * matrices + attention) + 2 * V * D;
    const toActivations = (L - 2) * (2 * matrices + 2 * attention) + 2 * V * D;
    const toWeights = 2 * 2 * matrices;
    expect(planCost(plan).modelFlops).toBe(tokens * (forward + toActivations + toWeights));
  });

  it("everything trainable: forward, and twice that backward, less the embedding's input", () => {
    const full = planCost(planFor(parameters));
    const forward = planCost(plan, ({ op }) => ["matmul", "attention", "lm_head_loss"].includes(op)).modelFlops;
    expect(forward).toBeGreaterThan(0);
    const [D, F, KE, V, T, L] = [32, 48, 16, 64, 16, 8];
    const perToken = L * (2 * (2 * D * D + 2 * D * KE + 3 * D * F) + 2 * T * D) + 2 * V * D;
    expect(full.modelFlops).toBe(2 * T * perToken * 3);
  });
});

describe("gradient accumulation", () => {
  it("micro-batches with 1, 5, 9 and 16 scored tokens give one large batch's gradients, to 1e-5 of the largest (f32 sums)", async () => {
    const trainable = inBlocks(2, 6);
    const [B, T] = [4, shape.length];
    const ids = Int32Array.from({ length: B * T }, (_, i) => (7 * i) % 64);
    const targets = ids.map((_, i) => (i % T < [1, 5, 9, 16][Math.floor(i / T)]! ? (11 * i) % 64 : -100));
    const gradients = async (batch: number) => {
      const store = new Store(createReferenceBackend());
      const options = { betas: [0.9, 0.95] as const, eps: 1e-8, weightDecay: 0.1, clip: 0 };
      const optimizer = await AdamW.create(store, trainable, options);
      for (const { name, shape: extents } of parameters) {
        if (!store.has(name)) store.add({ name, shape: extents, dtype: "f32" });
        const norm = name.endsWith("norm.weight");
        const values = Float32Array.from(
          { length: extents.reduce((a, b) => a * b, 1) },
          (_, i) => Math.sin(i * i) / 8 + Number(norm),
        );
        await store.write(name, values);
      }
      const { graph, loss } = recordMicroBatch(config, trainable, { ...shape, batch });
      const program = await Program.compile(graph, { loss }, store);
      for (let at = 0; at < B * T; at += batch * T) {
        const part = (all: Int32Array) => all.slice(at, at + batch * T);
        await program.run({ ...forwardInputs(config, part(ids), { batch, length: T }), targets: part(targets) });
      }
      const norm = await optimizer.norm(1 / 31);
      return { norm, of: (name: string) => store.read(companionName("gradient", name)) };
    };
    const [one, four] = [await gradients(4), await gradients(1)];
    expect(relativeError([four.norm], [one.norm])).toBeLessThan(1e-6);
    for (const { name } of trainable) {
      expect(relativeError(await four.of(name), await one.of(name)), name).toBeLessThan(1e-5);
    }
  });
});

function recipeOf(changes: object) {
  return checkRecipe(
    {
      model: "m",
      data: [{ path: "d" }],
      sequence_length: shape.length,
      batch: { sequences: 2 },
      steps: 1,
      out: "o",
      ...changes,
    },
    "test recipe",
  );
}

/** As planned for a backend, one micro-batch per step. */
async function predict(of: typeof config, all: typeof parameters, trainable: typeof parameters, changes: object = {}) {
  const recipe = recipeOf(changes);
  const model = { config: of, parameters: all, trainable, stored: () => "F32" as const };
  return (await planRun(recipe, model, createReferenceBackend())).prediction;
}

describe("prediction", () => {
  it("FLOPs of the plan equal what the surgery's plan states, for what slayer trains", async () => {
    const surgery = planSlayer(config, { groups: 2, groupSize: 2, prune: 1 });
    const summary = describePlan(surgery, config, { sequenceLength: shape.length });
    const grown = parseConfig({ ...raw, num_hidden_layers: surgery.blocks.length }, "config.json");
    const all = [...expectedTensors(grown)].map(([name, s]) => ({ name, shape: s, dtype: "f32" as const }));
    const trained = all.filter(({ name }) =>
      summary.trainable.blocks.some((l) => name.startsWith(`model.layers.${l}.`)),
    );
    const prediction = await predict(grown, all, trained);
    expect(prediction.trainable).toBe(summary.trainable.parameters);
    expect(prediction.parameters).toBe(summary.parameters.total);
    expect(prediction.modelFlops).toBe(summary.flops.planned.total * shape.batch * shape.length);
  });

  it("recomputation takes less memory and more FLOPs, the same model FLOPs, and its price is told", async () => {
    const trainable = inBlocks(2, 6);
    const plain = await predict(config, parameters, trainable);
    const again = await predict(config, parameters, trainable, { recompute: "block" });
    expect(again.memory.intermediates).toBeLessThan(plain.memory.intermediates);
    expect(again.flops).toBeGreaterThan(plain.flops);
    expect(again.modelFlops).toBe(plain.modelFlops);
    expect(again.recomputation!.saved).toBe(plain.memory.total - again.memory.total);
    expect(again.recomputation!.share).toBeCloseTo((again.flops - plain.flops) / again.flops, 2);
  });

  it("weight decay is told by group, and what is not decayed", async () => {
    const trainable = inBlocks(2, 6);
    expect((await predict(config, parameters, trainable)).decayed).toEqual({
      matrices: [{ weightDecay: 0.1, tensors: 7 * 2 }],
      not: 2 * 2,
    });
    const groups = [{ parameters: ["model.layers.2"], weight_decay: 0.3 }, { parameters: ["model.layers"] }];
    await expect(predict(config, parameters, trainable, { optimizer: { groups } })).rejects.toThrow("exactly one");
    groups[1]!.parameters = ["model.layers.6"];
    const { decayed } = await predict(config, parameters, trainable, { optimizer: { groups } });
    expect(decayed.matrices).toEqual([
      { weightDecay: 0.3, tensors: 7 },
      { weightDecay: 0.1, tensors: 7 },
    ]);
  });

  it("auto recomputes where memory is short, or where the intermediates do not fit into one buffer", async () => {
    const trainable = inBlocks(2, 6);
    const plain = await predict(config, parameters, trainable);
    const { total, intermediates } = plain.memory;
    const recomputes = async (maxBufferBytes: number, memory: number) => {
      const reference = createReferenceBackend();
      const backend = { ...reference, capabilities: { ...reference.capabilities, maxBufferBytes } };
      const model = { config, parameters, trainable, stored: () => "F32" as const };
      const { prediction } = await planRun(recipeOf({}), model, backend, undefined, memory);
      return prediction.recompute;
    };
    expect(await recomputes(intermediates, total)).toBe(false);
    expect(await recomputes(intermediates, total - 1)).toBe(true);
    expect(await recomputes(intermediates - 1, total)).toBe(true);
  });

  it("bf16: working copies and frozen weights take half, masters are there beside them", async () => {
    const trainable = inBlocks(2, 6);
    const [f32, bf16] = [
      await predict(config, parameters, trainable),
      await predict(config, parameters, trainable, { precision: "bf16" }),
    ];
    expect(bf16.memory.weights).toBe(f32.memory.weights / 2);
    expect(bf16.memory.masters).toBe(f32.memory.gradients);
    expect(bf16.memory.moments).toBe(f32.memory.moments);
    expect(bf16.memory.intermediates).toBeLessThan(0.7 * f32.memory.intermediates);
  });
});
