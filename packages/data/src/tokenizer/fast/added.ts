import type { AddedToken } from "../format.js";

/** A piece of text: what lies between added tokens, or (`id` given) one of them. Offsets into the text, in UTF-16 code units. */
export interface Piece {
  readonly start: number;
  readonly end: number;
  readonly id?: number;
}

/**
 * Finds added tokens in a text, the leftmost first and there the longest, as Python's `tokenizers` does. A token with lstrip or
 * rstrip takes the white space beside it.
 */
export class AddedTokens {
  /** By their first code unit; longest first. */
  readonly #byFirst = new Map<number, AddedToken[]>();
  /** [0x10000]: 1 where a token begins with that code unit. */
  readonly #begins = new Uint8Array(0x10000);

  constructor(tokens: readonly AddedToken[]) {
    for (const token of tokens) {
      const first = token.content.charCodeAt(0);
      this.#begins[first] = 1;
      const others = this.#byFirst.get(first) ?? [];
      this.#byFirst.set(
        first,
        [...others, token].toSorted((a, b) => b.content.length - a.content.length),
      );
    }
  }

  /** The pieces of text[start … end), without empty ones. */
  split(text: string, start: number, end: number): Piece[] {
    const pieces: Piece[] = [];
    const begins = this.#begins;
    let from = start;
    let at = start;
    while (this.#byFirst.size > 0 && at < end) {
      if (begins[text.charCodeAt(at)] === 0) {
        at++;
        continue;
      }
      const token = this.#byFirst
        .get(text.charCodeAt(at))!
        .find(({ content }) => at + content.length <= end && text.startsWith(content, at));
      if (token === undefined) {
        at++;
        continue;
      }
      let left = at;
      let right = at + token.content.length;
      if (token.lstrip === true) while (left > from && WHITE_SPACE.test(text[left - 1]!)) left--;
      if (token.rstrip === true) while (right < end && WHITE_SPACE.test(text[right]!)) right++;
      if (left > from) pieces.push({ start: from, end: left });
      pieces.push({ start: left, end: right, id: token.id });
      from = right;
      at = right;
    }
    if (from < end) pieces.push({ start: from, end });
    return pieces;
  }
}

const WHITE_SPACE = /\p{White_Space}/u;
