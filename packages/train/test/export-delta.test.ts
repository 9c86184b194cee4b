import { mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Checkpoint, CheckpointError } from "@slayer/checkpoint";
import { applyDelta, expand, planSlayer, readDelta } from "@slayer/surgery";
import { createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, RecipeError, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";

let dir: string;
const at = (...names: string[]) => join(dir, ...names);

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-export-"));
  await writeTinyCheckpoint(at("base"), { blocks: 6 });
  const base = await Checkpoint.open(at("base"));
  await expand(base, planSlayer(base.config, { groups: 1, groupSize: 2, prune: 1 }), at("expanded"));
  await base.close();
  const lines = tinyTexts(20, 2).map((text) => `${JSON.stringify({ text })}\n`);
  await writeFile(at("data.jsonl"), lines.join(""));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

const recipe = (changes: object = {}) =>
  checkRecipe(
    {
      model: at("expanded"),
      data: [{ path: at("data.jsonl") }],
      ...{ sequence_length: 16, batch: { sequences: 2 }, steps: 2, out: at("run") },
      ...changes,
    },
    "test recipe",
  );

async function files(folder: string): Promise<Record<string, string>> {
  const names = await readdir(folder);
  const content = await Promise.all(names.map(async (name) => (await readFile(join(folder, name))).toString("base64")));
  return Object.fromEntries(names.toSorted().map((name) => [name, content[names.indexOf(name)]!]));
}

describe("a run that ends with a delta", () => {
  it.each([
    ["of the model that training started from", "expanded", undefined],
    ["of the base before surgery", "base", "base"],
  ])("%s: unpacked on it, every file is the whole model's, byte for byte", async (_, base, named) => {
    const whole = await train(recipe(), createReferenceBackend(), { overwrite: true });
    expect(whole.model).toBe(at("run", "model"));
    await rm(at("whole"), { recursive: true, force: true });
    await rename(whole.model, at("whole"));

    const wanted = { as: "delta", ...(named && { base: at(named) }) };
    const result = await train(recipe({ export: wanted }), createReferenceBackend(), { overwrite: true });
    expect(result.model).toBe(at("run", "delta"));
    expect((await readdir(at("run"))).filter((name) => /model/.test(name))).toEqual([]);
    // Blocks 2 and 5 are new and trained; nothing else is stored.
    const tensors = (await readDelta(result.model)).files.flatMap((file) => file.tensors);
    const stored = tensors.filter((tensor) => tensor.base === undefined).map(({ name }) => name);
    expect(stored.every((name) => /^model\.layers\.[25]\./.test(name))).toBe(true);
    expect(stored).toHaveLength(2 * 9);
    expect((await stat(join(result.model, "model.safetensors"))).size).toBeLessThan(
      (await stat(at("whole", "model.safetensors"))).size / 2,
    );

    const checkpoint = await Checkpoint.open(at(base));
    await applyDelta(checkpoint, result.model, at("unpacked"), { overwrite: true });
    await checkpoint.close();
    expect(await files(at("unpacked"))).toEqual(await files(at("whole")));
  });

  it("a base that cannot be read is an error before anything is trained", async () => {
    const wrong = recipe({ export: { as: "delta", base: at("nowhere") }, out: at("none") });
    await expect(train(wrong, createReferenceBackend())).rejects.toThrow(CheckpointError);
    await expect(stat(at("none"))).rejects.toThrow("ENOENT");
  });

  it("recipes that make no sense are refused", () => {
    expect(() => recipe({ export: { base: "x" } })).toThrow("belongs to export.as: delta");
    expect(() => recipe({ export: { as: "delta" }, adapter: { name: "lora" } })).toThrow(RecipeError);
  });
});
