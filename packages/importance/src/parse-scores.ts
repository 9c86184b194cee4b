import { ImportanceError } from "./errors.js";
import { type AngularScores, bestRuns, type BlockScore } from "./scores.js";

/** No model has nearly as many; the scores of 1024 blocks take some 21 million characters, those of 32 blocks 30,000. */
const MAX_BLOCKS = 1024;
const MAX_CHARACTERS = 32 * 1024 * 1024;

/**
 * Reads `scores.json` text, which may come from anywhere. Checks every field, and that the file agrees with itself: a
 * symmetric matrix whose side is the number of blocks plus one, blocks and runs that follow from it. Unknown fields are
 * dropped.
 *
 * @param file names it in errors
 * @throws ImportanceError naming the field
 */
export function parseScores(json: string, file = "scores"): AngularScores {
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

type Fields = Readonly<Record<string, unknown>>;

function object(value: unknown): Fields | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : undefined;
}

class Reader {
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
  }

  scores(data: Fields): AngularScores {
    const version = this.#oneOf(data.version, "version", [1]);
    const metric = this.#oneOf(data.metric, "metric", ["angular"]);
    const model = object(data.model) ?? {};
    const family = this.#oneOf(model.family, "model.family", ["llama", "mistral"]);
    const blocks = this.#integer(model.blocks, "model.blocks", 1, MAX_BLOCKS);
    const hiddenSize = this.#integer(model.hiddenSize, "model.hiddenSize", 1);
    const unit = this.#oneOf(data.unit, "unit", ["pi", "radians"]);
    const token = this.#oneOf(data.token, "token", ["last", "mean"]);
    const final = this.#oneOf(data.final, "final", ["raw", "normed"]);
    const samples = this.#integer(data.samples, "samples", 1);
    const tokens = this.#integer(data.tokens, "tokens", samples);
    const roundedUp = 1 + 1e-12; // a mean of largest values
    const distances = this.#distances(data.distances, blocks + 1, (unit === "pi" ? 1 : Math.PI) * roundedUp);
    const interval = object(data.interval) ?? {};
    const runs = bestRuns(distances);
    this.#array(data.runs, "runs", blocks).forEach((value, i) => {
      const { n, start, value: distance } = object(value) ?? {};
      const run = runs[i]!;
      const same = n === run.n && start === run.start && distance === run.value;
      if (!same) this.#refuse(`runs.${i}`, `${JSON.stringify(run)}, as the distances have it`, value);
    });
    return {
      version,
      metric,
      model: { family, blocks, hiddenSize },
      unit,
      token,
      final,
      samples,
      tokens,
      distances,
      blocks: this.#array(data.blocks, "blocks", blocks).map((value, l) =>
        this.#block(object(value) ?? {}, l, distances[l]![l + 1]!),
      ),
      interval: {
        method: this.#oneOf(interval.method, "interval.method", ["percentile bootstrap over sequences"]),
        confidence: this.#number(interval.confidence, "interval.confidence", 0, 1),
        resamples: this.#integer(interval.resamples, "interval.resamples", 1),
        seed: this.#integer(interval.seed, "interval.seed", 0, 2 ** 32 - 1),
      },
      runs,
    };
  }

  #distances(value: unknown, side: number, largest: number): number[][] {
    const rows = this.#array(value, "distances", side).map((row, l) =>
      this.#array(row, `distances.${l}`, side).map((d, m) => this.#number(d, `distances.${l}.${m}`, 0, largest)),
    );
    for (const [l, row] of rows.entries()) {
      for (const [m, d] of row.entries()) {
        const mirrored = l === m ? 0 : rows[m]![l]!;
        if (d !== mirrored) this.#refuse(`distances.${l}.${m}`, `${mirrored}, for the matrix is symmetric`, d);
      }
    }
    return rows;
  }

  #block({ block, value, low, high }: Fields, l: number, distance: number): BlockScore {
    const path = `blocks.${l}`;
    if (block !== l) this.#refuse(`${path}.block`, String(l), block);
    if (value !== distance) this.#refuse(`${path}.value`, `${distance}, which is distances.${l}.${l + 1}`, value);
    if (low === null && high === null) return { block: l, value: distance, low, high };
    const from = this.#number(low, `${path}.low`, 0);
    return { block: l, value: distance, low: from, high: this.#number(high, `${path}.high`, from) };
  }

  #array(value: unknown, path: string, length: number): unknown[] {
    if (Array.isArray(value) && value.length === length) return value;
    if (Array.isArray(value)) return this.#refuse(`${path}.length`, String(length), value.length);
    return this.#refuse(path, `a list of ${length}`, value);
  }

  #oneOf<T extends string | number>(value: unknown, path: string, wanted: readonly T[]): T {
    const found = wanted.find((candidate) => candidate === value);
    return found ?? this.#refuse(path, wanted.map((w) => JSON.stringify(w)).join(" or "), value);
  }

  #integer(value: unknown, path: string, from: number, to = Number.MAX_SAFE_INTEGER): number {
    return Number.isInteger(value) ? this.#number(value, path, from, to) : this.#refuse(path, "an integer", value);
  }

  #number(value: unknown, path: string, from = -Number.MAX_VALUE, to = Number.MAX_VALUE): number {
    if (typeof value === "number" && value >= from && value <= to) return value;
    return this.#refuse(path, `a number from ${from} to ${to}`, value);
  }

  #refuse(path: string, wanted: string, got: unknown): never {
    const text = JSON.stringify(got) ?? "nothing";
    const shown = text.length > 100 ? `${text.slice(0, 100)}…` : text;
    throw new ImportanceError(`${path}: want ${wanted}, got ${shown}`, this.#file);
  }
}
