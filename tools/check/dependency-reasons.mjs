import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { manifestsOf } from "./workspace.mjs";

const DOCUMENT = "docs/dependencies.md";

/**
 * The table rows of docs/dependencies.md (`name` first, the reason last) name every package that some package.json asks
 * for, and no other.
 *
 * @param {string} root
 * @returns {string[]} problems
 */
export function checkDependencyReasons(root) {
  const path = join(root, DOCUMENT);
  const text = existsSync(path) ? readFileSync(path, "utf8") : "";
  const rows = text.split("\n").map((line) => line.split("|").slice(1, -1));
  const reasons = new Map();
  for (const cells of rows) {
    const name = /^`([^`]+)`$/.exec(cells[0]?.trim() ?? "")?.[1];
    if (name !== undefined) reasons.set(name, cells.at(-1)?.trim());
  }
  const manifests = manifestsOf(root);
  const asked = new Map(
    manifests.flatMap((m) => [...m.dependencies, ...m.devDependencies].map((name) => [name, m.folder])),
  );
  for (const name of asked.keys()) if (name.startsWith("@slayer/")) asked.delete(name);
  return [
    ...[...asked]
      .filter(([name]) => !reasons.has(name))
      .map(
        ([name, folder]) =>
          `${DOCUMENT}: no row for ${name}, which ${folder === "." ? "" : `${folder}/`}package.json asks for`,
      ),
    ...[...reasons]
      .filter(([name]) => !asked.has(name))
      .map(([name]) => `${DOCUMENT}: no package.json asks for ${name}`),
    ...[...reasons].filter(([, reason]) => !reason).map(([name]) => `${DOCUMENT}: ${name} has no reason`),
  ];
}
