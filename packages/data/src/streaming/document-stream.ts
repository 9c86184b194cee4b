import { DataError } from "../errors.js";
import { type BadRecord, BadRecords } from "../sources/bad-records.js";
import { type RecordParser, RecordReader } from "../sources/records.js";
import type { Item } from "../store/encode-items.js";
import type { Encoder } from "../store/encoder-pool.js";
import { parserOf, sizeOf, type SourceSpec } from "../store/source-spec.js";

/** Which document: the first at or after line `line` (from 1) of file number `file`, in pass number `pass`. */
export interface DocumentPlace {
  readonly pass: number;
  readonly file: number;
  readonly line: number;
}

/** Without boundary tokens; never empty. */
export interface StreamedDocument {
  readonly tokens: Int32Array;
  readonly place: DocumentPlace;
}

interface Text {
  readonly item: Item;
  readonly place: DocumentPlace;
}

const PIECE_CHARACTERS = 256 * 1024;
const PIECE_ITEMS = 512;
/** Before so many records a share of bad ones says little. */
const EARLY = 1000;

/**
 * The documents of files in their order, pass after pass without end, read and encoded as they are asked for: a piece of some 256 K characters
 * ahead. Nothing is kept. What lies before `from` is not encoded, and of files before it nothing is read.
 */
export class DocumentStream {
  readonly #files: readonly { path: string; parser: RecordParser<Item>; format: SourceSpec["format"] }[];
  readonly #encoder: Encoder;
  readonly #maxBadShare: number;
  readonly #pieces: AsyncGenerator<Text[]>;
  readonly #bad = new BadRecords();
  #records = 0;
  #lastPass: number;
  #ahead: Promise<StreamedDocument[]> | undefined;

  constructor(specs: readonly SourceSpec[], encoder: Encoder, from: DocumentPlace, maxBadShare: number) {
    this.#files = specs.flatMap((spec) =>
      spec.files.map((path) => ({ path, parser: parserOf(spec), format: spec.format })),
    );
    this.#encoder = encoder;
    this.#maxBadShare = maxBadShare;
    this.#lastPass = from.pass;
    this.#pieces = piecesOf(this.#texts(from));
  }

  /** Records seen in the first pass of this stream, bad ones included, and of the bad ones the first hundred. Files count when they are behind. */
  get report(): { records: number; badRecords: number; bad: readonly BadRecord[] } {
    return { records: this.#records, badRecords: this.#bad.count, bad: this.#bad.first };
  }

  /** The next few, at least one. @throws DataError what reading and encoding throw; `bad-records`, `empty-corpus` */
  async next(): Promise<StreamedDocument[]> {
    const documents = await (this.#ahead ?? this.#encodeNext());
    this.#ahead = this.#encodeNext();
    this.#ahead.catch(() => {}); // it is told when it is asked for
    return documents;
  }

  async close(): Promise<void> {
    await this.#ahead?.catch(() => {});
    await this.#pieces.return([]);
  }

  async #encodeNext(): Promise<StreamedDocument[]> {
    for (;;) {
      const piece = (await this.#pieces.next()).value as Text[];
      const { tokens, lengths } = await this.#encoder.encode(piece.map(({ item }) => item));
      let at = 0;
      const documents = piece.flatMap(({ place }, i): StreamedDocument[] => {
        const begin = at;
        at += lengths[i]!;
        return at === begin ? [] : [{ tokens: tokens.subarray(begin, at), place }];
      });
      if (documents.length > 0) {
        this.#lastPass = documents.at(-1)!.place.pass;
        return documents;
      }
      if (piece[0]!.place.pass > this.#lastPass + 1) throw this.#empty();
    }
  }

  async *#texts(from: DocumentPlace): AsyncGenerator<Text> {
    for (let pass = from.pass; ; pass++) {
      let found = 0;
      const first = pass === from.pass ? from : { file: 0, line: 1 };
      for (let file = first.file; file < this.#files.length; file++) {
        const { path, parser, format } = this.#files[file]!;
        const reader = new RecordReader([path], parser, { format: format ?? "auto" });
        for await (const { value, line } of reader) {
          if (file === first.file && line < first.line) continue;
          found++;
          yield { item: value, place: { pass, file, line } };
        }
        if (pass === from.pass) this.#note(reader, file === this.#files.length - 1);
      }
      // A pass that began at the end of the last file has nothing left, and is none.
      if (found === 0 && first.file === 0 && first.line === 1) throw this.#empty();
    }
  }

  #note({ records, badRecords, bad }: RecordReader<Item>, isPassOver: boolean): void {
    this.#records += records;
    for (const record of bad) this.#bad.add(record);
    this.#bad.count += badRecords - bad.length;
    if (isPassOver || this.#records >= EARLY) BadRecords.check(this.report, this.#maxBadShare);
  }

  #empty(): DataError {
    const { path } = this.#files[0]!;
    const why = this.#bad.count > 0 ? `; the first record cannot be read: ${this.#bad.first[0]!.reason}` : "";
    return new DataError("empty-corpus", `expected at least one document with text, found none${why}`, { file: path });
  }
}

async function* piecesOf(texts: AsyncGenerator<Text>): AsyncGenerator<Text[]> {
  let piece: Text[] = [];
  let characters = 0;
  for await (const text of texts) {
    piece.push(text);
    characters += sizeOf(text.item);
    if (piece.length < PIECE_ITEMS && characters < PIECE_CHARACTERS) continue;
    yield piece;
    piece = [];
    characters = 0;
  }
}
