import { join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import { appendMetrics, type Metrics, truncateMetrics } from "./metrics.js";
import { EventFile } from "./tensorboard.js";

/** What a run writes about itself: metrics.jsonl, TensorBoard's event files, and at the end summary.json. */
export class RunLog {
  readonly #out: string;
  readonly #events: EventFile;

  private constructor(out: string, events: EventFile) {
    this.#out = out;
    this.#events = events;
  }

  /** `firstStep`: steps done before; what the curve holds beyond them is dropped, so that no step is in it twice. */
  static async open(out: string, firstStep: number): Promise<RunLog> {
    await truncateMetrics(join(out, "metrics.jsonl"), firstStep);
    return new RunLog(out, await EventFile.create(join(out, "tensorboard"), firstStep));
  }

  async add(metrics: Metrics): Promise<void> {
    await appendMetrics(join(this.#out, "metrics.jsonl"), metrics);
    await this.#events.scalars(metrics.step, curves(metrics));
  }

  /** As JSON; the predictions in it against what was measured. */
  async finish(summary: object): Promise<void> {
    await writeFileAtomic(join(this.#out, "summary.json"), `${JSON.stringify(summary, null, 2)}\n`);
  }
}

/** Points by the name of their curve. */
function curves(metrics: Metrics): Record<string, number> {
  if ("skipped" in metrics) return { "train/skipped": 1 };
  if ("eval" in metrics) {
    return Object.fromEntries(Object.entries(metrics.eval).map(([file, loss]) => [`eval/${file}`, loss]));
  }
  const { step: _, ...values } = metrics;
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`train/${name}`, value]));
}
