#!/usr/bin/env node
/**
 * From a fresh clone to a running command, with nothing but Node, npm's npx and git:
 *
 *   node tools/run.mjs install          the dependencies of the lockfile
 *   node tools/run.mjs build            … and the packages
 *   node tools/run.mjs test [ARGS]      … and the tests; ARGS go to vitest
 *   node tools/run.mjs VERB [ARGS]      … and `slayer VERB ARGS`
 *
 * What is up to date is skipped. Install and build write to stderr, and only what there is to say. The last program runs
 * in this process, so signals, exit code and terminal are its own.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { pnpm, root } from "./pnpm.mjs";

const [verb, ...args] = process.argv.slice(2);
if (verb === undefined) fail(2, "usage: node tools/run.mjs install | build | test [ARGS] | VERB [ARGS]");

const [major, minor] = process.versions.node.split(".").map(Number);
const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major > 22;
if (!fits) fail(2, `Node ^20.19.0 or >=22.12.0 is needed, this is ${process.version}.`);

await install();
if (verb !== "install") await build();
if (verb === "test") await start("node_modules/vitest/vitest.mjs", ["run", ...args]);
else if (verb !== "install" && verb !== "build") await start("packages/cli/dist/bin.js", [verb, ...args]);

async function install() {
  const stamp = join(root, "node_modules/.installed");
  const wanted = manifestHash();
  if (existsSync(stamp) && readFileSync(stamp, "utf8") === wanted) return;
  process.stderr.write("Installing dependencies…\n");
  // Nobody answers questions here, and without a terminal pnpm would refuse to replace what another install left.
  const { code, output } = await pnpm(["install", "--frozen-lockfile", "--config.confirmModulesPurge=false"]);
  if (code !== 0) fail(code, code > 128 ? "Interrupted." : `${output}The installation failed.`);
  writeFileSync(stamp, wanted);
}

/** Changes whenever an installation could give another result. */
function manifestHash() {
  const manifests = ["package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".npmrc", "kernels/package.json"];
  manifests.push("bench/package.json");
  for (const folder of ["packages", "examples"]) {
    manifests.push(...readdirSync(join(root, folder)).map((p) => `${folder}/${p}/package.json`));
  }
  const hash = createHash("sha256").update(`${process.platform} ${process.arch} ${process.versions.modules}`);
  for (const file of manifests.map((f) => join(root, f)).filter((f) => existsSync(f))) hash.update(readFileSync(file));
  return hash.digest("hex");
}

async function build() {
  const upToDate = existsSync(join(root, "packages/cli/dist/bin.js"));
  if (!upToDate) process.stderr.write("Building packages…\n");
  // build:native never fails: without a compiler the reference backend does its work, and the command says so.
  const turbo = ["exec", "turbo", "run", "build", "build:native", "--output-logs=errors-only"];
  const { code, output } = await pnpm(turbo, { quiet: true });
  if (code !== 0) fail(code, code > 128 ? "Interrupted." : `${output}The build failed.`);
}

/**
 * Becomes `script` with these arguments.
 *
 * @param {string} script
 * @param {string[]} scriptArgs
 */
async function start(script, scriptArgs) {
  const path = join(root, script);
  process.argv = [process.execPath, path, ...scriptArgs];
  await import(pathToFileURL(path).href);
}

/**
 * @param {number} code
 * @param {string} message
 * @returns {never}
 */
function fail(code, message) {
  process.stderr.write(`${message}\n`);
  process.exit(code);
}
