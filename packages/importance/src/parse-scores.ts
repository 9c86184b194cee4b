import { ImportanceError } from "./errors.js";
import { mcnemar } from "./choices.js";
import {
  type AngularScores,
  bestRuns,
  type BlockScore,
  type DropScore,
  type DropScores,
  type GateScores,
  type MeasuredModel,
  type SampleInterval,
  type Scores,
} from "./scores.js";

/** No model has nearly as many; the scores of 512 blocks take some 16 million characters, those of 32 blocks 80,000. */
const MAX_BLOCKS = 512;
const MAX_CHARACTERS = 32 * 1024 * 1024;

/**
 * Reads `scores.json` text, which may come from anywhere. Checks every field, and that the file agrees with itself: a
 * symmetric matrix whose side is the number of blocks plus one, blocks and runs that follow from it. Unknown fields are
 * dropped.
 *
 * @param file names it in errors
 * @throws ImportanceError naming the field
 */
export function parseScores(json: string, file = "scores"): Scores {
  if (json.length > MAX_CHARACTERS) {
    throw new ImportanceError(`want at most ${MAX_CHARACTERS} characters, got ${json.length}`, file);
  }
  let data: unknown;
  try {
    data = JSON.parse(json);
  } catch (cause) {
    throw new ImportanceError(`not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, file);
  }
  return new Reader(file).scores(object(data) ?? {});
}

/** What all kinds of scores have. */
type Common = "version" | "metric" | "model" | "samples" | "tokens";
type Fields = Readonly<Record<string, unknown>>;

function object(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

class Reader {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  scores(data: Fields): Scores {
    const version = this.#oneOf(data.version, "version", [1]);
    const metric = this.#oneOf(data.metric, "metric", ["angular", "removal", "insertion", "gate"]);
    const fields = object(data.model) ?? {};
    const model: MeasuredModel = {
      family: this.#oneOf(fields.family, "model.family", ["llama", "mistral"]),
      blocks: this.#integer(fields.blocks, "model.blocks", 1, MAX_BLOCKS),
      hiddenSize: this.#integer(fields.hiddenSize, "model.hiddenSize", 1),
    };
    const samples = this.#integer(data.samples, "samples", 1);
    const common = { version, model, samples, tokens: this.#integer(data.tokens, "tokens", samples) };
    if (metric === "angular") return { ...common, metric, ...this.#angular(data, model) };
    if (metric === "gate") return { ...common, metric, ...this.#gate(data, model) };
    return { ...common, metric, ...this.#drops(data, metric, common) };
  }

  #angular(data: Fields, { blocks }: MeasuredModel): Omit<AngularScores, Common> {
    const unit = this.#oneOf(data.unit, "unit", ["pi", "radians"]);
    const token = this.#oneOf(data.token, "token", ["last", "mean"]);
    const final = this.#oneOf(data.final, "final", ["raw", "normed"]);
    const roundedUp = 1 + 1e-12; // a mean of largest values
    const largest = (unit === "pi" ? 1 : Math.PI) * roundedUp;
    const distances = this.#distances(data.distances, "distances", blocks + 1, () => [0, largest]);
    const alone = data.low === null && data.high === null;
    const low = alone ? null : this.#distances(data.low, "low", blocks + 1, () => [0, largest]);
    const high = low && this.#distances(data.high, "high", blocks + 1, (l, m) => [low[l]![m]!, largest]);
    const runs = bestRuns({ distances, low, high });
    this.#array(data.runs, "runs", blocks).forEach((value, i) => {
      const found = object(value) ?? {};
      const run = runs[i]!;
      const same = Object.entries(run).every(([key, wanted]) => found[key] === wanted);
      if (!same) this.#refuse(`runs.${i}`, `${JSON.stringify(run)}, as the distances have it`, value);
    });
    return {
      unit,
      token,
      final,
      distances,
      low,
      high,
      blocks: this.#array(data.blocks, "blocks", blocks).map((value, l) =>
        this.#block(object(value) ?? {}, {
          block: l,
          value: distances[l]![l + 1]!,
          low: low?.[l]![l + 1] ?? null,
          high: high?.[l]![l + 1] ?? null,
        }),
      ),
      interval: this.#interval(data.interval, "percentile bootstrap over sequences"),
      runs,
      settled: this.#settled(data.settled, blocks),
    };
  }

  #gate(data: Fields, { blocks }: MeasuredModel): Omit<GateScores, Common> {
    return {
      ...this.#base(data),
      blocks: this.#array(data.blocks, "blocks", blocks).map((value, l) => this.#score(object(value) ?? {}, l)),
      interval: this.#interval(data.interval, "percentile bootstrap over sequences"),
      settled: this.#settled(data.settled, blocks),
    };
  }

  #drops(
    data: Fields,
    metric: DropScores["metric"],
    { model, samples }: { model: MeasuredModel; samples: number },
  ): Omit<DropScores, Common> {
    const inits = metric === "removal" ? ([null] as const) : (["copy", "average"] as const);
    const init = this.#oneOf(data.init, "init", inits);
    const unit = this.#oneOf(data.unit, "unit", ["loss", "likelihood", "accuracy"]);
    const noun = unit === "loss" ? "sequences" : "items";
    const accuracy = unit === "accuracy";
    const sites = init === "average" ? model.blocks - 1 : model.blocks;
    const blocks = this.#array(data.blocks, "blocks", sites).map((value, l): DropScore => {
      const fields = object(value) ?? {};
      const score = this.#score(fields, l, accuracy ? 1 : undefined);
      return accuracy ? { ...score, mcnemar: this.#mcnemar(fields.mcnemar, `blocks.${l}.mcnemar`, samples) } : score;
    });
    return {
      init,
      unit,
      ...this.#base(data, accuracy ? 1 : undefined),
      blocks,
      interval: this.#interval(data.interval, `paired percentile bootstrap over ${noun}`),
      settled: this.#settled(data.settled, sites),
    };
  }

  #base({ base, baseLow, baseHigh }: Fields, largest?: number): Pick<DropScores, "base" | "baseLow" | "baseHigh"> {
    const checked = this.#number(base, "base", 0, largest);
    if (baseLow === null && baseHigh === null) return { base: checked, baseLow, baseHigh };
    const low = this.#number(baseLow, "baseLow", 0, largest);
    return { base: checked, baseLow: low, baseHigh: this.#number(baseHigh, "baseHigh", low, largest) };
  }

  #settled(value: unknown, sites: number): Scores["settled"] {
    if (value === null) return null;
    const { level, least, decided } = object(value) ?? {};
    return {
      level: this.#number(level, "settled.level", 0, 1),
      least: least === null ? null : this.#integer(least, "settled.least", 1, sites),
      decided: typeof decided === "boolean" ? decided : this.#refuse("settled.decided", "true or false", decided),
    };
  }

  #mcnemar(value: unknown, path: string, samples: number): NonNullable<DropScore["mcnemar"]> {
    const fields = object(value) ?? {};
    const lost = this.#integer(fields.lost, `${path}.lost`, 0, samples);
    const gained = this.#integer(fields.gained, `${path}.gained`, 0, samples - lost);
    const p = this.#number(fields.p, `${path}.p`, 0, 1);
    const wanted = mcnemar(lost, gained);
    // Machines differ in the last digits of logarithms.
    if (Math.abs(p - wanted) > 1e-9) this.#refuse(`${path}.p`, `${wanted}, as lost and gained have it`, p);
    return { lost, gained, p };
  }

  #interval<M extends SampleInterval["method"]>(value: unknown, method: M): SampleInterval & { method: M } {
    const interval = object(value) ?? {};
    return {
      method: this.#oneOf(interval.method, "interval.method", [method]),
      confidence: this.#number(interval.confidence, "interval.confidence", 0, 1),
      resamples: this.#integer(interval.resamples, "interval.resamples", 1),
      seed: this.#integer(interval.seed, "interval.seed", 0, 2 ** 32 - 1),
    };
  }

  /** A drop or a gradient: any finite number, at most `largest` either way. */
  #score({ block, value, low, high }: Fields, l: number, largest = Number.MAX_VALUE): BlockScore {
    const path = `blocks.${l}`;
    if (block !== l) this.#refuse(`${path}.block`, String(l), block);
    const checked = this.#number(value, `${path}.value`, -largest, largest);
    if (low === null && high === null) return { block: l, value: checked, low, high };
    const from = this.#number(low, `${path}.low`, -largest, largest);
    return { block: l, value: checked, low: from, high: this.#number(high, `${path}.high`, from, largest) };
  }

  /** A symmetric matrix with zeros on its diagonal, each value in a range of its own. */
  #distances(
    value: unknown,
    path: string,
    side: number,
    range: (l: number, m: number) => readonly [number, number],
  ): number[][] {
    const rows = this.#array(value, path, side).map((row, l) =>
      this.#array(row, `${path}.${l}`, side).map((d, m) => this.#number(d, `${path}.${l}.${m}`, ...range(l, m))),
    );
    for (const [l, row] of rows.entries()) {
      for (const [m, d] of row.entries()) {
        const mirrored = l === m ? 0 : rows[m]![l]!;
        if (d !== mirrored) this.#refuse(`${path}.${l}.${m}`, `${mirrored}, for the matrix is symmetric`, d);
      }
    }
    return rows;
  }

  /** A block's distance and interval, which stand in the matrices too. */
  #block(found: Fields, wanted: BlockScore): BlockScore {
    for (const [key, value] of Object.entries(wanted)) {
      if (found[key] === value) continue;
      const why = key === "block" ? "" : `, as in ${key === "value" ? "distances" : key}`;
      this.#refuse(`blocks.${wanted.block}.${key}`, `${value}${why}`, found[key]);
    }
    return wanted;
  }

  #array(value: unknown, path: string, length: number): unknown[] {
    if (Array.isArray(value) && value.length === length) return value;
    if (Array.isArray(value)) return this.#refuse(`${path}.length`, String(length), value.length);
    return this.#refuse(path, `a list of ${length}`, value);
  }

  #oneOf<T extends string | number | null>(value: unknown, path: string, wanted: readonly T[]): T {
    const found = wanted.find((candidate) => candidate === value);
    return found !== undefined ? found : this.#refuse(path, wanted.map((w) => JSON.stringify(w)).join(" or "), value);
  }

  #integer(value: unknown, path: string, from: number, to = Number.MAX_SAFE_INTEGER): number {
    return Number.isInteger(value) ? this.#number(value, path, from, to) : this.#refuse(path, "an integer", value);
  }

  #number(value: unknown, path: string, from = -Number.MAX_VALUE, to = Number.MAX_VALUE): number {
    if (typeof value === "number" && value >= from && value <= to) return value;
    const range = to === Number.MAX_VALUE ? `of at least ${from}` : `from ${from} to ${to}`;
    return this.#refuse(path, from === -Number.MAX_VALUE ? "a number" : `a number ${range}`, value);
  }

  #refuse(path: string, wanted: string, got: unknown): never {
    const text = JSON.stringify(got) ?? "nothing";
    const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
    throw new ImportanceError(`${path}: want ${wanted}, got ${shown}`, this.#file);
  }
}
