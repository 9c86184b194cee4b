import { readFileSync } from "node:fs";
import { join } from "node:path";
import { filesOf } from "./workspace.mjs";

const MAX_LINES = 400;

/**
 * One file, one idea: no source is longer than 400 lines.
 *
 * @param {string} root
 * @returns {string[]} problems
 */
export function checkFileLengths(root) {
  return filesOf(root)
    .filter((file) => /\.(?:ts|mts|mjs|js|py|sh|wgsl|cu|cc|h)$/.test(file))
    .map((file) => ({ file, lines: readFileSync(join(root, file), "utf8").trimEnd().split("\n").length }))
    .filter(({ lines }) => lines > MAX_LINES)
    .map(({ file, lines }) => `${file}: ${lines} lines, at most ${MAX_LINES}; split it by idea`);
}
