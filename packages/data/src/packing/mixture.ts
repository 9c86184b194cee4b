import { DataError } from "../errors.js";
import type { Packing, SequenceRow } from "./sequence-row.js";
import type { PackingSettings } from "./settings.js";
import { StreamPacking } from "./stream-packing.js";
import type { TokenSource } from "./token-source.js";
import { WholePacking } from "./whole-packing.js";

/** A corpus and its share of the tokens, relative to the other weights. */
export interface WeightedSource {
  readonly source: TokenSource;
  readonly weight: number;
}

/** How far a source has been used. */
export interface SourcePosition {
  /** TokenSource.hash. */
  readonly corpus: string;
  readonly weight: number;
  /** Sequences given, all epochs together. */
  readonly sequences: number;
  /** Real tokens in them. */
  readonly tokens: number;
}

/**
 * Sequences of several corpora by weight. Each sequence is of one source: the one that is furthest behind its share of the tokens
 * given so far, so that every source keeps within a few sequences of its share at any time.
 */
export class Mixture {
  readonly sources: readonly WeightedSource[];
  readonly packings: readonly Packing[];
  readonly #given: { sequences: number; tokens: number }[];
  readonly #shares: readonly number[];
  readonly #hasSegments: boolean;

  /** @param positions where to go on; checked to belong to these sources */
  constructor(sources: readonly WeightedSource[], settings: PackingSettings, positions?: readonly SourcePosition[]) {
    this.#shares = sharesOf(sources.map(({ weight }) => weight));
    this.sources = sources;
    this.#hasSegments = settings.mode !== "concatenate";
    this.packings = sources.map(({ source }) =>
      settings.mode === "whole" ? new WholePacking(source, settings) : new StreamPacking(source, settings),
    );
    this.#given = sources.map((_, i) => ({
      sequences: positions?.[i]?.sequences ?? 0,
      tokens: positions?.[i]?.tokens ?? 0,
    }));
  }

  positions(): SourcePosition[] {
    return this.sources.map(({ source, weight }, i) => ({ corpus: source.hash, weight, ...this.#given[i]! }));
  }

  /** Passes over each source so far. */
  epochs(): number[] {
    return this.packings.map(({ sequencesPerEpoch }, i) => this.#given[i]!.sequences / sequencesPerEpoch);
  }

  /** The next sequence; the source that it is of. */
  writeNext(row: SequenceRow, epochs?: number): number {
    const index = furthestBehind(this.#shares, this.#given, row.inputIds.length);
    const given = this.#given[index]!;
    const count = this.packings[index]!.writeSequence(given.sequences, row, epochs);
    if (this.#hasSegments) row.positions.subarray(count).forEach((_, i, padding) => (padding[i] = i));
    given.tokens += count;
    given.sequences++;
    return index;
  }
}

/** Each weight's share of all. @throws DataError `bad-option` */
export function sharesOf(weights: readonly number[]): number[] {
  if (weights.length === 0) throw new DataError("bad-option", "sources: expected at least one");
  const sum = weights.reduce((total, weight) => total + weight, 0);
  for (const weight of weights) {
    if (weight > 0 && Number.isFinite(sum)) continue;
    throw new DataError("bad-option", `weight: expected a positive number, found ${weight}`);
  }
  return weights.map((weight) => weight / sum);
}

/** The source that is furthest behind its share of the tokens, once so many more will have been given. */
export function furthestBehind(
  shares: readonly number[],
  given: readonly { readonly tokens: number }[],
  more: number,
): number {
  const after = given.reduce((sum, { tokens }) => sum + tokens, 0) + more;
  let chosen = 0;
  let most = -Infinity;
  shares.forEach((share, i) => {
    const behind = share * after - given[i]!.tokens;
    if (behind > most) {
      most = behind;
      chosen = i;
    }
  });
  return chosen;
}
