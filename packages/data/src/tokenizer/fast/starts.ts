import type { TokenizerJson } from "../format.js";
import type { Ids } from "./ids.js";
import type { FastModel } from "./model.js";

const UTF8_LENGTHS = [0x80, 0x800, 0x10000];
const utf8Length = (code: number): number => 1 + UTF8_LENGTHS.filter((limit) => code >= limit).length;

/** Where the text of each token begins. */
export class TokenStarts {
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
   * Appends for each id of a section where it begins: `origin` is the place in the text of the section's first character, and
   * none is before `least`, where the prefix that was put before the section counts as standing.
   */
  find(section: string, ids: Int32Array, least: number, origin: number, starts: Ids): void {
    let at = 0;
    /** Bytes taken of the character at `at`. */
    let bytes = 0;
    for (const id of ids) {
      starts.push(Math.max(least, origin + at));
      if (!this.#isByteLevel && this.#beginsWithToken(section, at, bytes)) {
        at += this.#lengths[id]!;
        continue;
      }
      bytes += this.#isByteLevel ? this.#lengths[id]! : 1;
      for (let code = section.codePointAt(at); code !== undefined && bytes >= utf8Length(code);) {
        bytes -= utf8Length(code);
        at += code > 0xffff ? 2 : 1;
        code = section.codePointAt(at);
      }
    }
  }

  /** In a ▁ vocabulary a character without an id is spelled in bytes, each a token. */
  #beginsWithToken(section: string, at: number, bytes: number): boolean {
    return bytes === 0 && this.#charIds!.has(String.fromCodePoint(section.codePointAt(at)!));
  }
}
