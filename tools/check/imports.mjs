import { readFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { join, posix } from "node:path";
import { parseImports } from "./parse-imports.mjs";
import { filesOf, manifestsOf } from "./workspace.mjs";

const stages = ["tensor", "checkpoint", "model", "optim", "data"];
const backends = ["backend-cpu", "backend-webgpu", "backend-cuda"];

/**
 * Import direction of docs/architecture.md: which packages of the workspace the sources of each may import. Nothing
 * below the CLI names a concrete backend; surgery needs nothing but checkpoints.
 *
 * @type {Record<string, string[]>}
 */
const mayImport = {
  tensor: [],
  kernels: ["tensor"],
  ...Object.fromEntries([...backends, "backend-conformance"].map((b) => [b, ["tensor", "kernels"]])),
  checkpoint: [],
  model: ["tensor", "checkpoint"],
  optim: ["tensor", "checkpoint"],
  data: ["tensor", "checkpoint"],
  importance: stages,
  eval: stages,
  train: [...stages, "eval"],
  surgery: ["checkpoint"],
  cli: [...stages, ...backends, "importance", "train", "eval", "surgery"],
};

/**
 * Checks every import: its direction, that the package which is imported is declared where it is used, that no relative
 * import leaves its package, and that tensor runs where there is no Node. A package's tests may use any other package.
 *
 * @param {string} root
 * @returns {string[]} problems
 */
export function checkImports(root) {
  const manifests = manifestsOf(root);
  const common = manifests.find((m) => m.folder === ".")?.devDependencies ?? [];
  return [
    ...manifests.filter((m) => m.folder !== ".").flatMap((m) => checkPackage(root, m, common)),
    ...sourcesOf(root, "test").flatMap((file) => checkUndeclared(root, file, common)),
    ...sourcesOf(root, "tools").flatMap((file) => checkUndeclared(root, file, common)),
  ];
}

/**
 * @param {string} root
 * @param {import("./workspace.mjs").Manifest} manifest
 * @param {string[]} common the root's devDependencies, there for all tests
 */
function checkPackage(root, { folder, name, dependencies, devDependencies }, common) {
  const short = name.replace("@slayer/", "");
  const problems = [];
  const used = new Set();
  const isTest = (/** @type {string} */ file) => /\/test\/|\.test\.ts$|\/cases\.ts$/.test(file);
  const testDependencies = [...dependencies, ...devDependencies, ...common];
  for (const file of sourcesOf(root, folder)) {
    if (short === "bench" || isTest(file) || !file.startsWith(folder === "kernels" ? folder : `${folder}/src/`)) {
      problems.push(...checkUndeclared(root, file, testDependencies));
      continue;
    }
    const { imports, computed } = importsOf(root, file);
    if (computed) problems.push(`${file}: a dynamic import must name its module in a plain string`);
    for (const specifier of imports) {
      if (specifier.startsWith(".")) {
        const target = posix.join(posix.dirname(file), specifier);
        if (!target.startsWith(`${folder}/`) || isTest(target)) {
          problems.push(`${file}: relative import '${specifier}' leaves the package's sources`);
        }
        continue;
      }
      const imported = packageOf(specifier);
      used.add(imported);
      if (specifier.startsWith("node:")) {
        if (short === "tensor") problems.push(`${file}: tensor runs everywhere, but imports '${specifier}'`);
      } else if (!dependencies.includes(imported)) {
        problems.push(`${file}: imports '${imported}', which ${folder}/package.json does not name in dependencies`);
      }
    }
  }
  const allowed = mayImport[short] ?? (short === "bench" ? undefined : []);
  if (short !== "bench" && !(short in mayImport)) {
    problems.push(`${folder}: no import direction for '${name}'; add it to tools/check/imports.mjs`);
  }
  for (const dependency of dependencies.filter((d) => d.startsWith("@slayer/"))) {
    if (allowed && !allowed.includes(dependency.replace("@slayer/", ""))) {
      problems.push(`${folder}/package.json: ${name} must not depend on ${dependency}`);
    }
    if (allowed && !used.has(dependency)) problems.push(`${folder}/package.json: ${dependency} is never imported`);
  }
  if (short === "tensor" && dependencies.length > 0) {
    problems.push(`${folder}/package.json: tensor has no dependency, but names ${dependencies.join(", ")}`);
  }
  return problems;
}

/**
 * For tests and tools: any package of the workspace, Node, and what is declared.
 *
 * @param {string} root
 * @param {string} file
 * @param {string[]} declared
 */
function checkUndeclared(root, file, declared) {
  return importsOf(root, file)
    .imports.filter((s) => !s.startsWith(".") && !s.startsWith("node:") && !s.startsWith("@slayer/"))
    .map(packageOf)
    .filter((name) => !declared.includes(name))
    .map((name) => `${file}: imports '${name}', which no package.json above it declares`);
}

/**
 * @param {string} root
 * @param {string} folder
 */
function sourcesOf(root, folder) {
  return filesOf(root, folder).filter((file) => /\.(?:ts|mts|mjs|js)$/.test(file));
}

/**
 * @param {string} root
 * @param {string} file
 */
function importsOf(root, file) {
  return parseImports(file, readFileSync(join(root, file), "utf8"));
}

/** @param {string} specifier */
function packageOf(specifier) {
  if (builtinModules.includes(specifier)) return `${specifier} (write node:${specifier})`;
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}
