import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { availableIsas, createCpuBackend } from "@slayer/backend-cpu";
import { createWebgpuBackend, DeviceLostError } from "@slayer/backend-webgpu";
import { Checkpoint } from "@slayer/checkpoint";
import { expand, planSlayer } from "@slayer/surgery";
import { type Backend, createReferenceBackend } from "@slayer/tensor";
import { checkRecipe, readMetrics, type StepMetrics, train } from "@slayer/train";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";
import { missing, note, openAdapter } from "./support/adapter.js";

let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-webgpu-"));
  await writeTinyCheckpoint(join(dir, "base"), { blocks: 4, hiddenSize: 32 });
  const checkpoint = await Checkpoint.open(join(dir, "base"));
  await expand(checkpoint, planSlayer(checkpoint.config, { groups: 1, groupSize: 2, prune: 1 }), join(dir, "expanded"));
  await checkpoint.close();
  const lines = tinyTexts(80, 2).map((text) => `${JSON.stringify({ text })}\n`);
  await writeFile(join(dir, "data.jsonl"), lines.join(""));
});

afterAll(() => rm(dir, { recursive: true, force: true }));

const recipe = (out: string, steps: number, changes: object = {}) =>
  checkRecipe(
    {
      model: join(dir, "expanded"),
      data: [{ path: join(dir, "data.jsonl") }],
      sequence_length: 16,
      batch: { sequences: 2, micro: 1 },
      steps,
      optimizer: { lr: 0.01 },
      schedule: { warmup: 4 },
      checkpoint: { every: 4, keep: 2 },
      out: join(dir, out),
      ...changes,
    },
    "test recipe",
  );

async function losses(out: string): Promise<number[]> {
  const lines = await readMetrics(join(dir, out, "metrics.jsonl"));
  return lines.flatMap((line) => ("loss" in line ? [line.loss] : []));
}

async function run(name: string, backend: Backend, steps: number): Promise<number[]> {
  await train(recipe(name, steps), backend);
  await backend.close();
  return losses(name);
}

function hasCpu(): boolean {
  try {
    return availableIsas().length > 0;
  } catch {
    return false;
  }
}

describe.skipIf(missing !== undefined)(`training on WebGPU${note}`, () => {
  it(`50 steps of continued pre-training: losses as the reference's${hasCpu() ? " and cpu's" : ""} to 1e-3 of each`, async () => {
    const webgpu = await run("webgpu", await createWebgpuBackend(), 50);
    const others = [await run("reference", createReferenceBackend(), 50)];
    if (hasCpu()) others.push(await run("cpu", await createCpuBackend(), 50));
    for (const other of others) {
      expect(other).toHaveLength(50);
      const worst = Math.max(...other.map((loss, i) => Math.abs(webgpu[i]! - loss) / loss));
      expect(worst).toBeLessThanOrEqual(1e-3);
    }
    expect(webgpu.at(-1)).toBeLessThan(webgpu[0]!);
  });

  it.each([
    ["f32", 1e-3],
    ["bf16", 1e-2],
  ])(
    "one micro-batch a step, whose gradients are made in place, %s: losses as the reference's to %s of each",
    async (precision, tolerance) => {
      const curve = async (name: string, backend: Backend) => {
        await train(recipe(`${name}-${precision}`, 12, { batch: { sequences: 2 }, precision }), backend);
        await backend.close();
        return losses(`${name}-${precision}`);
      };
      const webgpu = await curve("alone-webgpu", await createWebgpuBackend());
      const reference = await curve("alone-reference", createReferenceBackend());
      expect(webgpu).toHaveLength(12);
      expect(Math.max(...reference.map((loss, i) => Math.abs(webgpu[i]! - loss) / loss))).toBeLessThanOrEqual(
        tolerance,
      );
      expect(webgpu.at(-1)).toBeLessThan(webgpu[0]!);
    },
  );

  it("AdaLoRA, 12 steps: losses as the reference's to 1e-3 of each, ranks that fall to the same sums", async () => {
    const adapter = { name: "adalora", rank: 4, target_rank: 2, tinit: 2, tfinal: 4, targets: ["q_proj", "down_proj"] };
    const curve = async (name: string, backend: Backend) => {
      await train(recipe(name, 12, { adapter }), backend);
      await backend.close();
      return (await readMetrics(join(dir, name, "metrics.jsonl"))) as StepMetrics[];
    };
    const webgpu = await curve("adalora-webgpu", await createWebgpuBackend());
    const reference = await curve("adalora-reference", createReferenceBackend());
    webgpu.forEach(({ loss }, i) => expect(Math.abs(loss / reference[i]!.loss - 1)).toBeLessThanOrEqual(1e-3));
    expect(webgpu.map(({ ranks }) => ranks)).toEqual(reference.map(({ ranks }) => ranks));
    expect([webgpu[1]!.ranks, webgpu[11]!.ranks]).toEqual([2 * webgpu[11]!.ranks!, webgpu[11]!.ranks]);
  });

  it("a device lost in a run: a typed error, and the run goes on from its last checkpoint, bit for bit", async () => {
    const whole = await run("whole", await createWebgpuBackend(), 10);
    const { adapter, device } = await openAdapter();
    const backend = await createWebgpuBackend({ adapter });
    const interrupted = train(recipe("lost", 10), backend, {
      onStep: ({ step }) => {
        if (step === 6) device().destroy();
      },
    });
    await expect(interrupted).rejects.toThrow(DeviceLostError);
    await expect(interrupted).rejects.toThrow(/the device was lost.*go on from there/);
    await backend.close();
    const fresh = await createWebgpuBackend();
    await train(recipe("lost", 10), fresh, { resume: true });
    await fresh.close();
    expect(await losses("lost")).toEqual(whole);
  });
});
