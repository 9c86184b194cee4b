import type { Corpus } from "./corpus.js";
import { Pcg32, shuffle } from "./pcg32.js";
import type { PackingSettings } from "./settings.js";

/** Target of a position that is not scored. */
export const NOT_SCORED = -100;
/** Segment of padding. */
export const PADDING = -1;

/** Rows of a batch, each [T]; what `writeSequence` fills. */
export interface SequenceRow {
  readonly inputIds: Int32Array;
  readonly targets: Int32Array;
  readonly positions: Int32Array;
  readonly segments: Int32Array;
}

/** Sequences in one epoch: the last one is padded. */
export function sequencesPerEpoch(corpus: Corpus, settings: PackingSettings): number {
  return Math.ceil((corpus.tokens.length + corpus.documents * extraTokens(settings)) / settings.sequenceLength);
}

function extraTokens({ boundary }: PackingSettings): number {
  return (boundary.before === undefined ? 0 : 1) + (boundary.after === undefined ? 0 : 1);
}

/**
 * One pass over a corpus: documents in this epoch's order, with their boundary tokens, one after another, cut into
 * sequences. A function of (corpus, settings, epoch) alone, which is what makes a position resumable. Random numbers:
 * PCG32 with the seed, stream 2·epoch for documents and 2·epoch + 1 for sequences.
 */
export class PackedEpoch {
  readonly #corpus: Corpus;
  readonly #settings: PackingSettings;
  readonly #documentOrder: Uint32Array;
  readonly #sequenceOrder: Uint32Array | undefined;
  /** [documents + 1]: where the i-th document of the order begins in the packed stream. */
  readonly #starts: Float64Array;

  constructor(corpus: Corpus, settings: PackingSettings, epoch: number) {
    this.#corpus = corpus;
    this.#settings = settings;
    this.#documentOrder = counting(corpus.documents);
    if (settings.shuffle.documents) shuffle(this.#documentOrder, new Pcg32(settings.seed, 2 * epoch));
    if (settings.shuffle.sequences) {
      this.#sequenceOrder = shuffle(
        counting(sequencesPerEpoch(corpus, settings)),
        new Pcg32(settings.seed, 2 * epoch + 1),
      );
    }
    const extra = extraTokens(settings);
    this.#starts = new Float64Array(corpus.documents + 1);
    this.#documentOrder.forEach((document, i) => {
      const length = corpus.offsets[document + 1]! - corpus.offsets[document]!;
      this.#starts[i + 1] = this.#starts[i]! + length + extra;
    });
  }

  /** Writes the sequence that comes at `index` in this epoch. */
  writeSequence(index: number, row: SequenceRow): void {
    const { sequenceLength, mode, boundary } = this.#settings;
    const documents = this.#corpus.documents;
    const start = (this.#sequenceOrder?.[index] ?? index) * sequenceLength;
    let document = this.#documentAt(start);
    let offset = start - this.#starts[document]!;
    let position = 0;
    let segment = 0;
    for (let t = 0; t < sequenceLength; t++) {
      if (document === documents) {
        row.inputIds[t] = boundary.after ?? boundary.before!;
        row.targets[t] = NOT_SCORED;
        row.positions[t] = position++;
        row.segments[t] = PADDING;
        continue;
      }
      row.inputIds[t] = this.#tokenAt(document, offset);
      row.positions[t] = position++;
      row.segments[t] = segment;
      offset++;
      const isDocumentEnd = this.#starts[document]! + offset === this.#starts[document + 1]!;
      if (isDocumentEnd) {
        document++;
        offset = 0;
      }
      const crosses = isDocumentEnd && mode === "documents";
      row.targets[t] = document === documents || crosses ? NOT_SCORED : this.#tokenAt(document, offset);
      if (crosses) {
        position = 0;
        segment++;
      }
    }
  }

  /** The place in this epoch's order of the document that holds a position of the packed stream. */
  #documentAt(position: number): number {
    let low = 0;
    let high = this.#corpus.documents;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (this.#starts[middle]! <= position) low = middle;
      else high = middle;
    }
    return low;
  }

  #tokenAt(place: number, offset: number): number {
    const { before, after } = this.#settings.boundary;
    const document = this.#documentOrder[place]!;
    const inside = before === undefined ? offset : offset - 1;
    if (inside < 0) return before!;
    const at = this.#corpus.offsets[document]! + inside;
    return at < this.#corpus.offsets[document + 1]! ? this.#corpus.tokens[at]! : after!;
  }
}

function counting(length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, i) => i);
}
