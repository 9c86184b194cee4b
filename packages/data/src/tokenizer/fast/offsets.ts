import type { TokenizerJson } from "../format.js";
import { Ids } from "./ids.js";
import type { FastModel } from "./model.js";

const UTF8_LENGTHS = [0x80, 0x800, 0x10000];
const utf16Length = (code: number): number => (code > 0xffff ? 2 : 1);
const utf8Length = (code: number): number => 1 + UTF8_LENGTHS.filter((limit) => code >= limit).length;

/** Where the text of each token begins and ends, in UTF-16 code units. */
export class Offsets {
  readonly starts = new Ids();
  readonly ends = new Ids();

  push(start: number, end: number): void {
    this.starts.push(start);
    this.ends.push(end);
  }
}

/** Finds them again from the lengths of tokens. */
export class TokenOffsets {
  /** Units of text per token: bytes in a byte-level vocabulary, else UTF-16 code units. */
  readonly #lengths: Int32Array;
  readonly #isByteLevel: boolean;
  readonly #charIds: FastModel["charIds"];

  constructor({ model }: TokenizerJson, { charIds }: FastModel) {
    this.#isByteLevel = charIds === undefined;
    this.#charIds = charIds;
    const ids = Object.values(model.vocab);
    this.#lengths = new Int32Array(ids.reduce((largest, id) => Math.max(largest, id), -1) + 1);
    for (const [token, id] of Object.entries(model.vocab)) this.#lengths[id] = token.length;
  }

  /**
   * Appends for each id of a section where it begins and ends: `origin` is the place in the text of the section's first character,
   * and none is before `least`, where the prefix that was put before the section counts as standing. A token with a part of a
   * character has all of it.
   */
  find(section: string, ids: Int32Array, least: number, origin: number, offsets: Offsets): void {
    let at = 0;
    /** Bytes taken of the character at `at`. */
    let bytes = 0;
    for (const id of ids) {
      const start = at;
      if (!this.#isByteLevel && this.#beginsWithToken(section, at, bytes)) at += this.#lengths[id]!;
      else {
        bytes += this.#isByteLevel ? this.#lengths[id]! : 1;
        for (let code = section.codePointAt(at); code !== undefined && bytes >= utf8Length(code);) {
          bytes -= utf8Length(code);
          at += utf16Length(code);
          code = section.codePointAt(at);
        }
      }
      const end = bytes > 0 ? at + utf16Length(section.codePointAt(at)!) : at;
      offsets.push(Math.max(least, origin + start), Math.max(least, origin + end));
    }
  }

  /** In a ▁ vocabulary a character without an id is spelled in bytes, each a token. */
  #beginsWithToken(section: string, at: number, bytes: number): boolean {
    return bytes === 0 && this.#charIds!.has(String.fromCodePoint(section.codePointAt(at)!));
  }
}
