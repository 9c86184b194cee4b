import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { filesOf } from "./workspace.mjs";

/**
 * README.md draws the folders between `<!-- tree -->` and `<!-- /tree -->`, a line each, children indented by two. The
 * drawing must hold every top-level folder and every package, and nothing that is not there.
 *
 * @param {string} root
 * @returns {string[]} problems
 */
export function checkReadmeTree(root) {
  const path = join(root, "README.md");
  const readme = existsSync(path) ? readFileSync(path, "utf8") : "";
  const block = /<!-- tree -->\s*```[a-z]*\n([^]*?)```\s*<!-- \/tree -->/.exec(readme)?.[1];
  if (block === undefined) return ["README.md: no fenced tree between <!-- tree --> and <!-- /tree -->"];

  const drawn = new Set(foldersIn(block));
  const there = new Set(filesOf(root).flatMap(ancestors));
  const due = [...there].filter((folder) => !folder.includes("/") || /^packages\/[^/]+$/.test(folder));
  return [
    ...[...drawn].filter((f) => !there.has(f)).map((f) => `README.md: the tree shows ${f}/, which is not there`),
    ...due.filter((f) => !drawn.has(f)).map((f) => `README.md: the tree lacks ${f}/`),
  ];
}

/**
 * Paths of the folders in a drawing.
 *
 * @param {string} block
 */
function foldersIn(block) {
  /** @type {string[]} */
  const parents = [];
  return block
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, indent, name] = /^((?: {2})*)([^\s/]+)\//.exec(line) ?? [];
      if (indent === undefined || name === undefined) return `unreadable line '${line}'`;
      parents.length = indent.length / 2;
      parents.push(name);
      return parents.join("/");
    });
}

/** @param {string} file */
function ancestors(file) {
  const parts = file.split("/").slice(0, -1);
  return parts.map((_, i) => parts.slice(0, i + 1).join("/"));
}
