import { Pcg32, shuffle } from "./pcg32.js";
import { fillRow, type Packing, type SequenceRow } from "./sequence-row.js";
import type { PackingSettings } from "./settings.js";
import { tokenCount, type TokenSource } from "./token-source.js";

/** Documents of one epoch in their order, one after another with boundary tokens. */
interface Epoch {
  readonly documents: Uint32Array;
  /** [documents + 1]: where the i-th of them begins in the epoch. */
  readonly starts: Float64Array;
}

/**
 * One endless text, epoch after epoch: every document once per epoch, in that epoch's order, with its boundary tokens; sequence m
 * is its tokens m·T … (m+1)·T. No position is wasted. Random numbers: PCG32 with the seed, stream 2·epoch for the documents'
 * order, 2·epoch + 1 for that of the sequences that begin in the epoch.
 */
export class StreamPacking implements Packing {
  readonly tokensPerEpoch: number;
  readonly sequencesPerEpoch: number;
  readonly #source: TokenSource;
  readonly #settings: PackingSettings;
  /** The two epochs used last: a sequence can begin in one and end in the next. */
  readonly #epochs = new Map<number, Epoch>();
  readonly #orders = new Map<number, Uint32Array>();
  /** T + 1 tokens: the last is only a target. */
  readonly #tokens: Int32Array;

  constructor(source: TokenSource, settings: PackingSettings) {
    this.#source = source;
    this.#settings = settings;
    this.#tokens = new Int32Array(settings.sequenceLength + 1);
    this.tokensPerEpoch = tokenCount(source) + source.documents * this.#extra;
    this.sequencesPerEpoch = this.tokensPerEpoch / settings.sequenceLength;
  }

  get #extra(): number {
    const { before, after } = this.#settings.boundary;
    return Number(before !== undefined) + Number(after !== undefined);
  }

  writeSequence(n: number, row: SequenceRow, epochs = Infinity): number {
    const { sequenceLength, mode } = this.#settings;
    const start = this.#placeOf(n) * sequenceLength;
    const left = Math.min(sequenceLength + 1, epochs * this.tokensPerEpoch - start);
    const documentStarts = this.#readStream(start, left);
    return fillRow(row, this.#tokens, left, documentStarts, mode);
  }

  /** Puts `count` tokens of the endless text into #tokens; where among them documents begin. */
  #readStream(start: number, count: number): Set<number> {
    const documentStarts = new Set<number>();
    const { before, after } = this.#settings.boundary;
    const { offsets } = this.#source;
    let number = Math.floor(start / this.tokensPerEpoch);
    let epoch = this.#epoch(number);
    let within = start - number * this.tokensPerEpoch;
    let place = placeAt(epoch.starts, within);
    for (let t = 0; t < count;) {
      if (place === epoch.documents.length) {
        epoch = this.#epoch(++number);
        place = 0;
        within = 0;
      }
      const document = epoch.documents[place]!;
      const length = offsets[document + 1]! - offsets[document]!;
      // Tokens of the document, from -1 (the boundary before it) to `length` (the one after).
      let inside = within - epoch.starts[place]! - Number(before !== undefined);
      if (within === epoch.starts[place]) documentStarts.add(t);
      const first = t;
      if (inside < 0) {
        this.#tokens[t++] = before!;
        inside = 0;
      }
      const run = Math.min(length - inside, count - t);
      if (run > 0) {
        this.#source.read(offsets[document]! + inside, this.#tokens.subarray(t, t + run));
        t += run;
      }
      if (t < count && inside + run === length && after !== undefined) this.#tokens[t++] = after;
      within += t - first;
      if (within === epoch.starts[place + 1]) place++;
    }
    return documentStarts;
  }

  #epoch(number: number): Epoch {
    return remember(this.#epochs, number, () => {
      const { offsets, documents: count } = this.#source;
      const documents = Uint32Array.from({ length: count }, (_, i) => i);
      if (this.#settings.shuffle.documents) shuffle(documents, new Pcg32(this.#settings.seed, 2 * number));
      const starts = new Float64Array(count + 1);
      documents.forEach((document, i) => {
        starts[i + 1] = starts[i]! + (offsets[document + 1]! - offsets[document]!) + this.#extra;
      });
      return { documents, starts };
    });
  }

  /** Which sequence of the text is given as the n-th. */
  #placeOf(n: number): number {
    if (!this.#settings.shuffle.sequences) return n;
    const epoch = Math.floor((n * this.#settings.sequenceLength) / this.tokensPerEpoch);
    const firstOf = (number: number): number =>
      Math.ceil((number * this.tokensPerEpoch) / this.#settings.sequenceLength);
    const first = firstOf(epoch);
    const order = remember(this.#orders, epoch, () => {
      const items = Uint32Array.from({ length: firstOf(epoch + 1) - first }, (_, i) => i);
      return shuffle(items, new Pcg32(this.#settings.seed, 2 * epoch + 1));
    });
    return first + order[n - first]!;
  }
}

/** The place in the order of the document that holds a position of the epoch. */
function placeAt(starts: Float64Array, position: number): number {
  let low = 0;
  let high = starts.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >>> 1;
    if (starts[middle]! <= position) low = middle;
    else high = middle;
  }
  return low;
}

/** The value of a key, made where there is none; of several keys the last two are kept. */
function remember<T>(known: Map<number, T>, key: number, make: () => T): T {
  const found = known.get(key) ?? make();
  known.delete(key);
  known.set(key, found);
  if (known.size > 2) known.delete(known.keys().next().value!);
  return found;
}
