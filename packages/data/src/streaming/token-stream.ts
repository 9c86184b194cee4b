import { fillRow, type SequenceRow } from "../packing/sequence-row.js";
import type { PackingSettings } from "../packing/settings.js";
import type { DocumentPlace, DocumentStream, StreamedDocument } from "./document-stream.js";

/** Where the next sequence begins: `inside` tokens of that document, its boundary tokens counted, have been given. */
export interface StreamPlace extends DocumentPlace {
  readonly inside: number;
}

export const BEGINNING: StreamPlace = { pass: 0, file: 0, line: 1, inside: 0 };

/** A stream's documents as one text with boundary tokens, given in sequences one after another. */
export class TokenStream {
  readonly #documents: DocumentStream;
  readonly #settings: PackingSettings;
  readonly #tokens: Int32Array;
  /** Read and not yet given in full, boundary tokens put around them; of the first `#inside` tokens are given. */
  #waiting: StreamedDocument[] = [];
  #count = 0;
  #place: DocumentPlace;
  #inside: number;

  constructor(documents: DocumentStream, settings: PackingSettings, { inside, ...from }: StreamPlace) {
    this.#documents = documents;
    this.#settings = settings;
    // One more: the last is only a target.
    this.#tokens = new Int32Array(settings.sequenceLength + 1);
    this.#place = from;
    this.#inside = inside;
  }

  get place(): StreamPlace {
    return { ...(this.#waiting[0]?.place ?? this.#place), inside: this.#inside };
  }

  /** @throws DataError as DocumentStream.next */
  async writeSequence(row: SequenceRow): Promise<void> {
    const { sequenceLength: T, mode } = this.#settings;
    while (this.#count - this.#inside <= T) {
      for (const { tokens, place } of await this.#documents.next()) {
        this.#waiting.push({ tokens: this.#withBoundary(tokens), place });
        this.#count += this.#waiting.at(-1)!.tokens.length;
      }
    }
    const documentStarts = new Set<number>();
    for (let t = 0, d = 0, inside = this.#inside; t <= T; d++, inside = 0) {
      const { tokens } = this.#waiting[d]!;
      if (inside === 0) documentStarts.add(t);
      const run = tokens.subarray(inside, inside + T + 1 - t);
      this.#tokens.set(run, t);
      t += run.length;
    }
    fillRow(row, this.#tokens, T + 1, documentStarts, mode);
    this.#inside += T;
    while (this.#inside >= this.#waiting[0]!.tokens.length) {
      const { length } = this.#waiting.shift()!.tokens;
      this.#inside -= length;
      this.#count -= length;
    }
  }

  #withBoundary(tokens: Int32Array): Int32Array {
    const { before, after } = this.#settings.boundary;
    const own = [before === undefined ? [] : [before], tokens, after === undefined ? [] : [after]];
    const whole = new Int32Array(own.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of own) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}
