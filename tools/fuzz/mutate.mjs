// Random changes to files: on bytes, and on what JSON means. The same seed gives the same changes.

/** @typedef {() => number} Random a number in [0, 1) */

/** mulberry32. @param {number} seed @returns {Random} */
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** @param {Random} random @param {number} count */
const below = (random, count) => Math.floor(random() * count);
/** @template T @param {Random} random @param {readonly T[]} list @returns {T} */
const pick = (random, list) => list[below(random, list.length)];

/** Bytes that mean something to some reader. */
const tokens = [
  '"',
  "{",
  "}",
  "[",
  "]",
  ":",
  ",",
  "\\u0000",
  "\\",
  "\n",
  "\t",
  "- ",
  "&a ",
  "*a",
  "!!js/function ",
  "1e999",
  "-0",
].map((text) => new TextEncoder().encode(text));

/** @param {Random} random @param {Uint8Array} bytes @returns {Uint8Array} */
export function mutateBytes(random, bytes) {
  let result = bytes;
  for (let left = 1 + below(random, 4); left > 0; left -= 1) result = changeBytes(random, result);
  return result;
}

/** @param {Random} random @param {Uint8Array} bytes @returns {Uint8Array} */
function changeBytes(random, bytes) {
  const at = below(random, bytes.length + 1);
  const end = Math.min(bytes.length, at + 1 + below(random, random() < 0.5 ? 4 : 64));
  const [head, middle, tail] = [bytes.subarray(0, at), bytes.subarray(at, end), bytes.subarray(end)];
  switch (below(random, 6)) {
    case 0: // one bit
      return Buffer.concat([head, middle.map((byte, i) => (i === 0 ? byte ^ (1 << below(random, 8)) : byte)), tail]);
    case 1: // random bytes
      return Buffer.concat([head, middle.map(() => below(random, 256)), tail]);
    case 2:
      return Buffer.concat([head, tail]);
    case 3:
      return Buffer.concat([head, middle, middle, tail]);
    case 4:
      return random() < 0.2 ? head : Buffer.concat([head, middle, tail.subarray(0, below(random, tail.length + 1))]);
    default:
      return Buffer.concat([head, pick(random, tokens), middle, tail]);
  }
}

/** Values at which readers stumble. @type {readonly unknown[]} */
const values = [
  null, true, false, 0, -0, 1, -1, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, 2 ** 53 - 1, -(2 ** 53), 1e308, 5e-324, 1e21, "", "0", "F32", "BF16",
  "float32", "__proto__", "constructor", "../x", "/etc/passwd", "C:\\x", "a\0b", "\ud800", "model.layers.0.mlp.up_proj.weight", [], {}, [[]], [0, 0],
  [0, 2 ** 53], { toString: 1 }, "x".repeat(5000), Array.from({ length: 3000 }, () => 0),
]; // prettier-ignore

/** A value nested far deeper than any file needs. @param {number} depth @returns {string} */
const nested = (depth) => "[".repeat(depth) + "]".repeat(depth);

/**
 * JSON text that means something else than `value`: a node replaced, removed, doubled or moved, a key renamed or written twice.
 * @param {Random} random @param {unknown} value @returns {string}
 */
export function mutateJson(random, value) {
  const copy = structuredClone(value);
  /** @type {{ holder: any, key: string | number }[]} */
  const nodes = [];
  const walk = (/** @type {any} */ holder) => {
    for (const key of Object.keys(holder)) {
      nodes.push({ holder, key });
      if (typeof holder[key] === "object" && holder[key] !== null) walk(holder[key]);
    }
  };
  walk(copy);
  for (let left = 1 + below(random, 3); left > 0 && nodes.length > 0; left -= 1) {
    const { holder, key } = pick(random, nodes);
    const other = pick(random, nodes);
    switch (below(random, 6)) {
      case 0:
        if (Array.isArray(holder)) holder.splice(Number(key), 1);
        else delete holder[key];
        break;
      case 1:
        holder[`${key}${pick(random, ["", "x", "\0", "2"])}`] = structuredClone(other.holder[other.key]);
        break;
      case 2:
        if (typeof holder[key] === "number") holder[key] += pick(random, [-1, 1, 0.5, -8, 8, 2 ** 32, -(2 ** 53)]);
        break;
      case 3:
        if (Array.isArray(holder)) holder.push(structuredClone(other.holder[other.key]));
        break;
      default:
        holder[key] = structuredClone(pick(random, values));
    }
  }
  const text = JSON.stringify(copy, null, random() < 0.5 ? undefined : 1) ?? "null";
  const roll = random();
  if (roll < 0.05) return text.replace(/"([^"\\]+)":/, (match) => `${match}1,${match}`); // a key twice
  if (roll < 0.08) return text.replace(/\d+/, nested(10 ** (1 + below(random, 6))));
  if (roll < 0.1) return text.replace(/\d+/, pick(random, ["NaN", "Infinity", "1e999", "0x10", "01", "1".repeat(400)]));
  return text;
}
