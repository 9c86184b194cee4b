import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Folders that are made, not written. */
const generated = new Set(["node_modules", "dist", "build", "coverage", "out", "runs", "quickstart", "__pycache__"]);

/**
 * Paths of all written files below `folder`, relative to `root`, sorted; fixtures and dot folders are left out.
 *
 * @param {string} root
 * @param {string} [folder]
 * @returns {string[]}
 */
export function filesOf(root, folder = ".") {
  const path = join(root, folder);
  if (!existsSync(path)) return [];
  const entries = readdirSync(path, { withFileTypes: true }).toSorted((a, b) => (a.name < b.name ? -1 : 1));
  return entries.flatMap((entry) => {
    const name = folder === "." ? entry.name : `${folder}/${entry.name}`;
    if (!entry.isDirectory()) return entry.isFile() ? [name] : [];
    const skipped = generated.has(entry.name) || entry.name.startsWith(".") || entry.name === "fixtures";
    return skipped ? [] : filesOf(root, name);
  });
}

/**
 * @typedef {object} Manifest
 * @property {string} folder relative to the root, "." for the root's own
 * @property {string} name
 * @property {string[]} dependencies with peer and optional ones
 * @property {string[]} devDependencies
 */

/**
 * Every package.json of the workspace.
 *
 * @param {string} root
 * @returns {Manifest[]}
 */
export function manifestsOf(root) {
  return filesOf(root)
    .filter((file) => /^(?:(?:(?:packages|examples)\/[^/]+|kernels|bench)\/)?package\.json$/.test(file))
    .map((file) => {
      const json = JSON.parse(readFileSync(join(root, file), "utf8"));
      return {
        folder: file === "package.json" ? "." : file.slice(0, -"/package.json".length),
        name: json.name,
        dependencies: Object.keys({
          ...json.dependencies,
          ...json.peerDependencies,
          ...json.optionalDependencies,
        }),
        devDependencies: Object.keys({ ...json.devDependencies }),
      };
    });
}
