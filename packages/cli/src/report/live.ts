import { stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";
import { readText } from "../files.js";
import type { ReportData } from "./data.js";
import { writePicture } from "./picture.js";
import { parseRanks } from "./ranks.js";

/** Not more often, and never more than one part in so many of the run's time. */
const PACE = { leastMs: 10_000, share: 50 };
const PICTURE = "ranks.svg";
const MAX_ADAPTER_BYTES = 64 * 2 ** 20;

/** The report of a run, written again while it goes on; the page in a browser reloads itself until the run has ended. */
export class LiveReport {
  readonly #dir: string;
  readonly #file: string;
  readonly #pace: typeof PACE;
  #next: number;

  constructor(dir: string, file: string, pace = PACE) {
    this.#dir = dir;
    this.#file = file;
    this.#pace = pace;
    this.#next = performance.now() + pace.leastMs;
  }

  /** Call after every step. */
  async refresh(): Promise<void> {
    if (performance.now() < this.#next) return;
    const started = performance.now();
    await this.#write(true);
    const { leastMs, share } = this.#pace;
    this.#next = performance.now() + Math.max(leastMs, share * (performance.now() - started));
  }

  /** The page as it stays, and beside it AdaLoRA's ranks as a picture. A run that wrote no curve gets none. */
  async finish(): Promise<void> {
    if (!(await stat(join(this.#dir, "metrics.jsonl")).catch(() => null))) return;
    const ranks = await this.#ranks();
    if (ranks.length > 0) await writePicture(join(this.#dir, PICTURE), { title: "", ranks });
    await this.#write(false, ranks);
  }

  /** Known in the end, and AdaLoRA's only. */
  async #ranks(): Promise<NonNullable<ReportData["ranks"]>> {
    const file = join(this.#dir, "model", "adapter_config.json");
    if (!(await stat(file).catch(() => null))) return [];
    const ranks = parseRanks(await readText(file, MAX_ADAPTER_BYTES), file);
    return ranks === null ? [] : [{ name: basename(this.#dir), ranks, picture: PICTURE }];
  }

  async #write(goesOn: boolean, ranks: ReportData["ranks"] = []): Promise<void> {
    // The chart library takes a while to load.
    const [{ readReportInputs }, { reportPage }] = await Promise.all([import("./inputs.js"), import("./page.js")]);
    const inputs = await readReportInputs([join(this.#dir, "metrics.jsonl")]);
    const title = `Training run ${this.#dir}`;
    const reload = goesOn ? { reloadAfterSeconds: PACE.leastMs / 1000 } : {};
    await writeFileAtomic(this.#file, reportPage({ title, ...inputs, ranks, ...reload }));
  }
}
