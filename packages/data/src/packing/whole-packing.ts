import { DataError } from "../errors.js";
import { fillSequences } from "./fill-sequences.js";
import { Pcg32, shuffle } from "./pcg32.js";
import { NOT_SCORED, type Packing, type SequenceRow } from "./sequence-row.js";
import type { PackingSettings } from "./settings.js";
import { idOf, type TokenSource } from "./token-source.js";

/**
 * Whole documents side by side in a sequence, none cut in two (fillSequences says which stand together). What does not fit into T
 * tokens loses its end; a document that then has nothing to score is left out. Every epoch gives the same sequences, in an order
 * of its own (PCG32 with the seed, stream 2·epoch + 1).
 */
export class WholePacking implements Packing {
  readonly sequencesPerEpoch: number;
  readonly tokensPerEpoch: number;
  readonly truncated: number;
  readonly leftOut: number;
  readonly #source: TokenSource;
  readonly #settings: PackingSettings;
  /** Documents, sequence after sequence; and where each sequence begins among them. */
  readonly #documents: Uint32Array;
  readonly #starts: Uint32Array;
  #order: { epoch: number; sequences: Uint32Array } | undefined;

  constructor(source: TokenSource, settings: PackingSettings) {
    this.#source = source;
    this.#settings = settings;
    const kept: number[] = [];
    let truncated = 0;
    for (let document = 0; document < source.documents; document++) {
      const isCut = this.#lengthOf(document, Infinity) > settings.sequenceLength;
      if (isCut && !this.#hasTarget(document)) continue;
      truncated += Number(isCut);
      kept.push(document);
    }
    this.truncated = truncated;
    this.leftOut = source.documents - kept.length;
    if (kept.length === 0) {
      throw new DataError(
        "empty-corpus",
        `no document has a token to predict within ${settings.sequenceLength} tokens`,
      );
    }
    const lengths = kept.map((document) => this.#lengthOf(document));
    const bins = fillSequences(lengths, settings.sequenceLength);
    this.#documents = Uint32Array.from(bins.flat(), (i) => kept[i]!);
    this.#starts = new Uint32Array(bins.length + 1);
    bins.forEach((bin, i) => (this.#starts[i + 1] = this.#starts[i]! + bin.length));
    this.sequencesPerEpoch = bins.length;
    this.tokensPerEpoch = lengths.reduce((sum, length) => sum + length, 0);
  }

  writeSequence(n: number, row: SequenceRow): number {
    const { boundary } = this.#settings;
    const sequence = this.#sequenceAt(n);
    let t = 0;
    let segment = 0;
    for (const document of this.#documents.subarray(this.#starts[sequence], this.#starts[sequence + 1])) {
      const tokens = new Int32Array(this.#lengthOf(document));
      const before = Number(boundary.before !== undefined);
      if (before === 1) tokens[0] = boundary.before!;
      const { offsets } = this.#source;
      const own = Math.min(offsets[document + 1]! - offsets[document]!, tokens.length - before);
      this.#source.read(offsets[document]!, tokens.subarray(before, before + own));
      if (before + own < tokens.length) tokens[before + own] = boundary.after!;
      tokens.forEach((token, i) => {
        const next = tokens[i + 1] ?? -1;
        row.inputIds[t] = idOf(token);
        row.targets[t] = next < 0 ? NOT_SCORED : next;
        row.positions[t] = i;
        row.segments[t++] = segment;
      });
      segment++;
    }
    return t;
  }

  /** Tokens of a document with its boundaries, cut to a sequence. */
  #lengthOf(document: number, most = this.#settings.sequenceLength): number {
    const { before, after } = this.#settings.boundary;
    const own = this.#source.offsets[document + 1]! - this.#source.offsets[document]!;
    return Math.min(own + Number(before !== undefined) + Number(after !== undefined), most);
  }

  /** Whether the part of a document that is kept has a token to predict. */
  #hasTarget(document: number): boolean {
    const tokens = new Int32Array(this.#settings.sequenceLength);
    this.#source.read(this.#source.offsets[document]!, tokens.subarray(0, this.#ownTokens(document)));
    return tokens.subarray(1, this.#ownTokens(document)).some((token) => token >= 0);
  }

  #ownTokens(document: number): number {
    const { offsets } = this.#source;
    return Math.min(offsets[document + 1]! - offsets[document]!, this.#settings.sequenceLength);
  }

  #sequenceAt(n: number): number {
    const epoch = Math.floor(n / this.sequencesPerEpoch);
    if (this.#order?.epoch !== epoch) {
      const sequences = Uint32Array.from({ length: this.sequencesPerEpoch }, (_, i) => i);
      if (this.#settings.shuffle.sequences) shuffle(sequences, new Pcg32(this.#settings.seed, 2 * epoch + 1));
      this.#order = { epoch, sequences };
    }
    return this.#order.sequences[n % this.sequencesPerEpoch]!;
  }
}
