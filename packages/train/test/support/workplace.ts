import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Checkpoint } from "@slayer/checkpoint";
import { expand, planSlayer } from "@slayer/surgery";
import { checkRecipe, readMetrics, type Recipe, type StepMetrics } from "@slayer/train";
import { writeTinyCheckpoint } from "../../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../../test/support/tiny-texts.js";

/** A folder with a tiny model `base`, its expansion `expanded`, texts to train on, and runs. */
export class Workplace {
  readonly dir: string;
  readonly base: string;
  readonly expanded: string;

  private constructor(dir: string) {
    this.dir = dir;
    this.base = join(dir, "base");
    this.expanded = join(dir, "expanded");
  }

  static async create(): Promise<Workplace> {
    const place = new Workplace(await mkdtemp(join(tmpdir(), "slayer-train-")));
    const { dir, base, expanded } = place;
    await writeTinyCheckpoint(base, { blocks: 6 });
    const checkpoint = await Checkpoint.open(base);
    // 6 blocks and one inserted, the last pruned and the one before it updated: 6 blocks, two of them trainable.
    await expand(checkpoint, planSlayer(checkpoint.config, { groups: 1, groupSize: 2, prune: 1 }), expanded);
    await checkpoint.close();
    const texts = tinyTexts(60, 2).map((text) => `${JSON.stringify({ text })}\n`);
    await writeFile(join(dir, "data.jsonl"), texts.join(""));
    await writeFile(join(dir, "held.txt"), tinyTexts(5, 3).join("\n"));
    return place;
  }

  remove(): Promise<void> {
    return rm(this.dir, { recursive: true, force: true });
  }

  recipe(out: string, changes: object = {}): Recipe {
    return checkRecipe(
      {
        model: this.expanded,
        data: [{ path: join(this.dir, "data.jsonl") }],
        sequence_length: 16,
        batch: { sequences: 4, micro: 2 },
        steps: 8,
        optimizer: { lr: 0.01 },
        schedule: { warmup: 2 },
        checkpoint: { every: 3, keep: 2 },
        eval: { every: 4, perplexity: [join(this.dir, "held.txt")] },
        out: join(this.dir, out),
        ...changes,
      },
      "test recipe",
    );
  }

  /** The curve without what depends on the clock. */
  async curve(out: string): Promise<Omit<StepMetrics, "seconds" | "tokens_per_second">[]> {
    return (await readMetrics(join(this.dir, out, "metrics.jsonl"))).map((line) => {
      const { seconds: _, tokens_per_second: __, ...rest } = line as StepMetrics;
      return rest;
    });
  }
}

export async function tensorBytes(model: string): Promise<Map<string, Uint8Array>> {
  const checkpoint = await Checkpoint.open(model);
  const entries = await Promise.all(
    [...checkpoint.tensors.keys()].map(async (name) => [name, await checkpoint.read(name)] as const),
  );
  await checkpoint.close();
  return new Map(entries);
}
