import { expectedTensors, parseConfig } from "@slayer/checkpoint";
import { describePlan, planSlayer } from "@slayer/surgery";
import { makePlan, planCost, type Operand, type Plan, type Step } from "@slayer/tensor";
import { describe, expect, it } from "vitest";
import { predict, recordMicroBatch } from "../src/step.js";

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
const shape = { batch: 2, length: 16, segments: false, recompute: false };

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

describe("prediction", () => {
  it("FLOPs of the plan equal what the surgery's plan states, for what slayer trains", () => {
    const surgery = planSlayer(config, { groups: 2, groupSize: 2, prune: 1 });
    const summary = describePlan(surgery, config, { sequenceLength: shape.length });
    const grown = parseConfig({ ...raw, num_hidden_layers: surgery.blocks.length }, "config.json");
    const all = [...expectedTensors(grown)].map(([name, s]) => ({ name, shape: s, dtype: "f32" as const }));
    const trained = all.filter(({ name }) =>
      summary.trainable.blocks.some((l) => name.startsWith(`model.layers.${l}.`)),
    );
    const prediction = predict(grown, all, trained, shape, 1);
    expect(prediction.trainable).toBe(summary.trainable.parameters);
    expect(prediction.parameters).toBe(summary.parameters.total);
    expect(prediction.modelFlops).toBe(summary.flops.planned.total * shape.batch * shape.length);
  });

  it("recomputation takes less memory and more FLOPs, the same model FLOPs", () => {
    const trainable = inBlocks(2, 6);
    const plain = predict(config, parameters, trainable, shape, 1);
    const again = predict(config, parameters, trainable, { ...shape, recompute: true }, 1);
    expect(again.memory.intermediates).toBeLessThan(plain.memory.intermediates);
    expect(again.flops).toBeGreaterThan(plain.flops);
    expect(again.modelFlops).toBe(plain.modelFlops);
  });
});
