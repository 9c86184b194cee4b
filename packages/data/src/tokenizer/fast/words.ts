/** The end of the word that begins at `start`, in UTF-16 code units. Words cover the text without gaps. */
export type WordEnd = (text: string, start: number) => number;

const OTHER = 1;
const LETTER = 2;
const NUMBER = 3;
const SPACE = 4;
const NEWLINE = 5;

/** Class of each code point, 0 where it has not been asked for yet. */
const classes = new Uint8Array(0x110000);
for (const code of "\r\n") classes[code.charCodeAt(0)] = NEWLINE;

function classify(code: number): number {
  const char = String.fromCodePoint(code);
  const found = /\p{L}/u.test(char)
    ? LETTER
    : /\p{N}/u.test(char)
      ? NUMBER
      : /\p{White_Space}/u.test(char)
        ? SPACE
        : OTHER;
  classes[code] = found;
  return found;
}

/** 0 at the end of the text. */
function classAt(text: string, at: number): number {
  if (at >= text.length) return 0;
  const code = text.codePointAt(at)!;
  return classes[code] || classify(code);
}

function width(text: string, at: number): number {
  return text.codePointAt(at)! > 0xffff ? 2 : 1;
}

/** Where a run of the class that begins at `start` ends, at most `limit` characters later. */
function runEnd(text: string, start: number, wanted: number, limit = Infinity): number {
  let at = start;
  for (let n = 0; n < limit && classAt(text, at) === wanted; n++) at += width(text, at);
  return at;
}

/** The length of 's 't 're 've 'm 'll 'd at an apostrophe, or 0. */
function contraction(text: string, at: number, ignoreCase: boolean): number {
  const letters = text.slice(at + 1, at + 3);
  const folded = ignoreCase ? letters.toLowerCase() : letters;
  const first = folded[0];
  // Case folding of Unicode: the long s is an s.
  if (first === "s" || first === "t" || first === "m" || first === "d" || (ignoreCase && first === "\u017f")) return 2;
  return folded === "re" || folded === "ve" || folded === "ll" ? 3 : 0;
}

/** White space from `start`: all of it at the end of the text; otherwise all but the last, which goes with the next word. */
function spaceEnd(text: string, start: number): number {
  let at = start;
  while (classAt(text, at) >= SPACE) at++;
  return at === text.length || at === start + 1 ? at : at - 1;
}

/**
 * GPT-2's split, by hand: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
 * A test compares it with the regular expression.
 */
export const gpt2WordEnd: WordEnd = (text, start) => {
  const code = text.charCodeAt(start);
  if (code === 0x27) {
    const length = contraction(text, start, false);
    if (length > 0) return start + length;
  }
  let at = code === 0x20 ? start + 1 : start;
  let found = classAt(text, at);
  if (found === 0 || found >= SPACE) {
    at = start;
    found = classAt(text, at);
  }
  return found >= SPACE ? spaceEnd(text, start) : runEnd(text, at, found);
};

/**
 * Llama-3's split, with at most `digits` digits in a word (3; Qwen has 1):
 * `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.
 * A test compares it with the regular expression.
 */
export function llama3WordEnd(digits: number): WordEnd {
  return (text, start) => {
    const code = text.charCodeAt(start);
    if (code === 0x27) {
      const length = contraction(text, start, true);
      if (length > 0) return start + length;
    }
    const found = classAt(text, start);
    if (found === LETTER) return runEnd(text, start, LETTER);
    if (found === NUMBER) return runEnd(text, start, NUMBER, digits);
    if (found !== NEWLINE) {
      const next = start + width(text, start);
      const after = classAt(text, next);
      if (after === LETTER) return runEnd(text, next, LETTER);
      const others = found === OTHER ? start : code === 0x20 && after === OTHER ? next : -1;
      if (others >= 0) return runEnd(text, runEnd(text, others, OTHER), NEWLINE);
    }
    let newlines = 0;
    for (let at = start; classAt(text, at) >= SPACE; at++) if (classAt(text, at) === NEWLINE) newlines = at + 1;
    return newlines > 0 ? newlines : spaceEnd(text, start);
  };
}

const META = 0x2581;

/**
 * Words of text whose spaces are ▁ already. A word begins at a ▁: at each one (`split`, as Metaspace does), or at each run of
 * them. With `digits` every digit, or every run of digits, is a word of its own.
 */
export function metaspaceWordEnd(split: boolean, digits: "none" | "each" | "runs"): WordEnd {
  return (text, start) => {
    if (digits !== "none" && classAt(text, start) === NUMBER) {
      return runEnd(text, start, NUMBER, digits === "each" ? 1 : Infinity);
    }
    let at = start;
    if (split) {
      if (text.charCodeAt(at) === META) at++;
    } else while (text.charCodeAt(at) === META) at++;
    if (digits === "none") {
      const end = text.indexOf("▁", at);
      return end < 0 ? text.length : end;
    }
    while (at < text.length && text.charCodeAt(at) !== META && classAt(text, at) !== NUMBER) at += width(text, at);
    return at;
  };
}
