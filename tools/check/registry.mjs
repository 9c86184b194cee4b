import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { filesOf } from "./workspace.mjs";

/**
 * The repository names no registry: the lockfile holds no address, .npmrc sets no registry, and no source, script or
 * document mentions a registry's host.
 *
 * @param {string} root
 * @returns {string[]} problems
 */
export function checkRegistry(root) {
  const problems = [];
  const lines = (/** @type {string} */ file) => {
    const path = join(root, file);
    return existsSync(path) ? readFileSync(path, "utf8").split("\n") : [];
  };
  lines("pnpm-lock.yaml").forEach((line, i) => {
    if (/https?:\/\//.test(line)) problems.push(`pnpm-lock.yaml:${i + 1}: an address in the lockfile: ${line.trim()}`);
  });
  lines(".npmrc").forEach((line, i) => {
    if (/registry/i.test(line)) problems.push(`.npmrc:${i + 1}: the registry is the user's choice: ${line.trim()}`);
  });
  for (const file of filesOf(root).filter((f) => /\.(?:ts|mts|mjs|js|json|yaml|yml|py|sh|md)$/.test(f))) {
    lines(file).forEach((line, i) => {
      if (/registry\.(?:npmjs|yarnpkg|npmmirror)|npm\.pkg\.github/i.test(line)) {
        problems.push(`${file}:${i + 1}: names a registry: ${line.trim()}`);
      }
    });
  }
  for (const file of ["package-lock.json", "yarn.lock"]) {
    if (existsSync(join(root, file))) problems.push(`${file}: the lockfile is pnpm-lock.yaml`);
  }
  return problems;
}
