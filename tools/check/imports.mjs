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
  train: [...stages, "eval", "surgery"],
  surgery: ["checkpoint"],
  "example-browser": [...stages, "backend-webgpu", "backend-conformance", "importance"],
  cli: [...stages, ...backends, "importance", "train", "eval", "surgery"],
};

/**
 * What is built into a package instead of being installed beside it, and is therefore imported by path: kernels/ is not
 * published; the conformance package carries its cases, the WebGPU backend its shaders.
 *
 * @type {Record<string, RegExp[]>}
 */
const builtIn = {
  "backend-conformance": [/^kernels\/index\.js$/],
  "backend-webgpu": [/^kernels\/[a-z-]+\/\w+\.wgsl$/],
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
function checkPackage(root, manifest, common) {
  const { folder, dependencies, devDependencies } = manifest;
  const sources = sourcesOf(root, folder);
  const shipped = sources.filter((file) => isShipped(folder, file));
  const imports = shipped.flatMap((file) => importsOf(root, file).imports.map((specifier) => ({ file, specifier })));
  return [
    ...checkManifest(manifest, new Set(imports.map(({ specifier }) => packageOf(specifier)))),
    ...shipped
      .filter((file) => importsOf(root, file).computed)
      .map((file) => `${file}: a dynamic import must name its module in a plain string`),
    ...imports.flatMap(({ file, specifier }) => checkSpecifier(manifest, file, specifier)),
    ...sources
      .filter((file) => !shipped.includes(file))
      .flatMap((file) => checkUndeclared(root, file, [...dependencies, ...devDependencies, ...common])),
  ];
}

/**
 * Whether a file is part of what its package offers, and no test, case or configuration.
 *
 * @param {string} folder
 * @param {string} file
 */
function isShipped(folder, file) {
  if (folder === "bench") return false;
  if (folder === "kernels") return !/\/test\/|\/cases\.ts$/.test(file);
  return file.startsWith(`${folder}/src/`);
}

/**
 * @param {import("./workspace.mjs").Manifest} manifest
 * @param {Set<string>} used packages that its sources import
 */
function checkManifest({ folder, name, dependencies }, used) {
  const short = name.replace("@slayer/", "");
  if (short === "bench") return [];
  const allowed = mayImport[short];
  if (!allowed) return [`${folder}: no import direction for '${name}'; add it to tools/check/imports.mjs`];
  const problems = [];
  for (const dependency of dependencies.filter((d) => d.startsWith("@slayer/"))) {
    if (!allowed.includes(dependency.replace("@slayer/", ""))) {
      problems.push(`${folder}/package.json: ${name} must not depend on ${dependency}`);
    }
    if (!used.has(dependency)) problems.push(`${folder}/package.json: ${dependency} is never imported`);
  }
  if (short === "tensor" && dependencies.length > 0) {
    problems.push(`${folder}/package.json: tensor has no dependency, but names ${dependencies.join(", ")}`);
  }
  return problems;
}

/**
 * @param {import("./workspace.mjs").Manifest} manifest
 * @param {string} file
 * @param {string} specifier
 */
function checkSpecifier({ folder, name, dependencies }, file, specifier) {
  const short = name.replace("@slayer/", "");
  if (specifier.startsWith(".")) {
    const target = posix.join(posix.dirname(file), specifier);
    const inside = folder === "kernels" ? target.startsWith("kernels/") : target.startsWith(`${folder}/src/`);
    const built = target.startsWith(`${folder}/dist/`) && target.endsWith(".wasm"); // assembled from a .wat of the sources
    const brought = builtIn[short]?.some((path) => path.test(target));
    if (inside || built || brought || target === `${folder}/package.json`) return [];
    return [`${file}: relative import '${specifier}' leaves the package's sources`];
  }
  if (specifier.startsWith("node:")) {
    return short === "tensor" ? [`${file}: tensor runs everywhere, but imports '${specifier}'`] : [];
  }
  const imported = packageOf(specifier);
  if (dependencies.includes(imported)) return [];
  return [`${file}: imports '${imported}', which ${folder}/package.json does not name in dependencies`];
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
  if (specifier.startsWith("/")) return specifier;
  return specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");
}
