import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { createReferenceBackend } from "@slayer/tensor";
import { parseRecipe } from "@slayer/train";
import { describe, expect, it } from "vitest";
import { readGeometry } from "../src/model.js";
import { planRun } from "../src/predict.js";

const dir = fileURLToPath(new URL("../../../recipes/", import.meta.url));

/** Of the paper's models: counted by hand in docs/algorithm.md. */
const counts: Record<string, { parameters: number; trainable: number }> = {
  "llama-pro-cpt.yaml": { parameters: 8_357_482_496, trainable: 1_619_066_880 },
  "slayer-8b-cpt.yaml": { parameters: 7_952_715_776, trainable: 1_821_450_240 },
  "slayer-8b-law.yaml": { parameters: 7_952_715_776, trainable: 1_821_450_240 },
  "slayer-8b-sft.yaml": { parameters: 7_952_715_776, trainable: 7_952_715_776 },
};

describe.each(readdirSync(dir).filter((name) => name.endsWith(".yaml")))("recipes/%s", (file) => {
  it("is planned without the model, with the parameters of the paper's", async () => {
    const recipe = parseRecipe(readFileSync(`${dir}${file}`, "utf8"), file);
    const { prediction } = await planRun(recipe, await readGeometry(recipe), createReferenceBackend());
    expect(prediction).toMatchObject(counts[file]!);
    // Working copies and frozen weights in bf16; f32 masters, gradients and two moments of what is trained.
    const { weights, masters, gradients, moments } = prediction.memory;
    const near = (bytes: number, expected: number) => expect(bytes / expected).toBeCloseTo(1, 4);
    near(weights, 2 * prediction.parameters);
    near(masters, 4 * prediction.trainable);
    near(gradients, 4 * prediction.trainable);
    near(moments, 8 * prediction.trainable);
  });
});
