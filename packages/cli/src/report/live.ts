import { stat } from "node:fs/promises";
import { join } from "node:path";
import { writeFileAtomic } from "@slayer/checkpoint";

/** Not more often, and never more than a small share of the run's time. */
const LEAST_MS = 10_000;
const SHARE = 50;

/** The report of a run, written again while it goes on; the page in a browser reloads itself until the run has ended. */
export class LiveReport {
  readonly #dir: string;
  readonly #file: string;
  #next = performance.now() + LEAST_MS;

  constructor(dir: string, file: string) {
    this.#dir = dir;
    this.#file = file;
  }

  /** Call after every step. */
  async refresh(): Promise<void> {
    if (performance.now() < this.#next) return;
    const started = performance.now();
    await this.#write(true);
    this.#next = performance.now() + Math.max(LEAST_MS, SHARE * (performance.now() - started));
  }

  /** The page as it stays. A run that wrote no curve gets none. */
  async finish(): Promise<void> {
    if (await stat(join(this.#dir, "metrics.jsonl")).catch(() => null)) await this.#write(false);
  }

  async #write(goesOn: boolean): Promise<void> {
    // The chart library takes a while to load.
    const [{ readReportInputs }, { reportPage }] = await Promise.all([import("./inputs.js"), import("./page.js")]);
    const files = [join(this.#dir, "metrics.jsonl")];
    const inputs = await readReportInputs(files);
    const title = `Training run ${this.#dir}`;
    const reload = goesOn ? { reloadAfterSeconds: LEAST_MS / 1000 } : {};
    await writeFileAtomic(this.#file, reportPage({ title, ...inputs, ...reload }));
  }
}
