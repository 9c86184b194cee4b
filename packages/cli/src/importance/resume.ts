import { createHash } from "node:crypto";
import { rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Checkpoint, writeFileAtomic } from "@slayer/checkpoint";
import type { ChoiceItem, MeasuredSamples } from "@slayer/importance";
import { InterruptedError } from "@slayer/train";
import { z } from "zod";
import { UserError } from "../errors.js";
import { exists, readText } from "../files.js";
import type { Run } from "../run.js";

const SAVE_EVERY_MS = 60_000;
const MAX_FILE_BYTES = 2 ** 30;

const partialSchema = z.object({
  version: z.literal(1),
  /** Everything that the numbers depend on. */
  of: z.record(z.string(), z.string()),
  measured: z.object({
    tokens: z.number(),
    counts: z.array(z.number()),
    sums: z.array(z.array(z.number())),
  }),
});

/** Lets a measurement go on where it stopped, from a file beside its output that is there only while it is unfinished. */
export class Resumption {
  readonly #file: string | undefined;
  readonly #of: Readonly<Record<string, string>>;
  readonly before: MeasuredSamples | undefined;
  #latest: (() => MeasuredSamples) | undefined;
  #saved = performance.now();
  #saving: Promise<void> | undefined;

  private constructor(
    file: string | undefined,
    of: Readonly<Record<string, string>>,
    before: MeasuredSamples | undefined,
  ) {
    this.#file = file;
    this.#of = of;
    this.before = before;
  }

  /**
   * @param out where the scores will go; without it nothing is saved
   * @param settings what the numbers depend on, by name
   * @throws UserError when an unfinished measurement lies there that is another one
   */
  static async open(
    out: string | undefined,
    overwrite: boolean,
    settings: Readonly<Record<string, string | number | undefined>>,
  ): Promise<Resumption> {
    const of = Object.fromEntries(Object.entries(settings).map(([key, value]) => [key, String(value ?? "default")]));
    if (out === undefined) return new Resumption(undefined, of, undefined);
    const file = `${out}.partial`;
    if (overwrite || !(await exists(file))) return new Resumption(file, of, undefined);
    const partial = parsePartial(await readText(file, MAX_FILE_BYTES), file);
    const different = Object.keys({ ...of, ...partial.of }).filter((key) => of[key] !== partial.of[key]);
    if (different.length > 0) {
      throw new UserError(
        `${file} is of an unfinished measurement with another ${different.join(", ")}; give the same command to go on ` +
          "with it, or --overwrite to begin anew",
      );
    }
    return new Resumption(file, of, partial.measured);
  }

  /** For `onMeasured`: saves now and then. */
  readonly note = (measured: () => MeasuredSamples): void => {
    this.#latest = measured;
    if (this.#saving !== undefined || performance.now() - this.#saved < SAVE_EVERY_MS) return;
    this.#saving = this.#save().finally(() => (this.#saving = undefined));
    this.#saving.catch(() => {}); // it is tried again, and `end` says why it failed
  };

  /** Runs the measurement. When it is interrupted what was measured is saved; when it is done the file goes. */
  async run<T>(run: Run, body: () => Promise<T>): Promise<T> {
    if (this.before) run.log(`going on after ${this.before.counts.length} samples, from ${this.#file}`);
    try {
      const result = await body();
      await this.#saving?.catch(() => {});
      return result;
    } catch (error) {
      await this.#saving?.catch(() => {});
      if (!run.signal.aborted || this.#file === undefined || this.#latest === undefined) throw error;
      await this.#save();
      const count = this.#latest().counts.length;
      throw new InterruptedError(`${count} samples measured so far are in ${this.#file}; the same command goes on`);
    }
  }

  /** Once the scores are written. */
  async done(): Promise<void> {
    if (this.#file !== undefined) await rm(this.#file, { force: true });
  }

  async #save(): Promise<void> {
    const measured = this.#latest!();
    await writeFileAtomic(this.#file!, `${JSON.stringify({ version: 1, of: this.#of, measured })}\n`);
    this.#saved = performance.now();
  }
}

function parsePartial(text: string, file: string): z.infer<typeof partialSchema> {
  try {
    return partialSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new UserError(`${file}: not what an interrupted measurement leaves; remove it, or give --overwrite`, {
      cause,
    });
  }
}

/** Tells one checkpoint from another without reading all of it: its config, and size and time of its files. */
export async function fingerprintOfModel({ dir, files, rawConfig }: Checkpoint): Promise<string> {
  const hash = createHash("sha256").update(JSON.stringify(rawConfig));
  for (const file of files) {
    const { size, mtimeMs } = await stat(join(dir, file));
    hash.update(`\n${size} ${mtimeMs}`);
  }
  return hash.digest("hex");
}

/** Of the tokens to be measured, in order. */
export function fingerprintOfData(samples: readonly (Int32Array | ChoiceItem)[]): string {
  const hash = createHash("sha256");
  const add = (ids: Int32Array) => hash.update(`${ids.length} `).update(ids);
  for (const sample of samples) {
    if (sample instanceof Int32Array) {
      add(sample);
      continue;
    }
    const { context, choices, answer } = sample;
    hash.update(`${answer} of ${choices.length}: `);
    add(context);
    for (const { ids } of choices) add(ids);
  }
  return hash.digest("hex");
}
