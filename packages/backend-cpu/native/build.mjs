#!/usr/bin/env node
/**
 * Builds the addon into build/Release with cmake-js; what is up to date stays. Arguments go to cmake-js.
 *
 * Exits 0 whether or not it could: without the addon the reference backend does the same work, slowly. One line says why there
 * is none. Exits 1 only with `--required`.
 */
import { spawn, spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("..", import.meta.url));
const required = process.argv.includes("--required");
const options = process.argv.slice(2).filter((argument) => argument !== "--required");

if (spawnSync("cmake", ["--version"]).status !== 0) {
  end("skipped: cmake not found; install cmake and g++ or clang++, then run `pnpm build:native`");
} else {
  const cmakeJs = createRequire(import.meta.url).resolve("cmake-js/bin/cmake-js");
  const { code, output } = await run(process.execPath, [cmakeJs, "compile", "--log-level", "error", ...options]);
  if (code !== 0) end(`failed: ${summary(output)}`);
}

/** @param {string} why */
function end(why) {
  console.error(`@slayer/backend-cpu: native build ${why}`);
  if (required) process.exitCode = 1;
}

/**
 * @param {string} command
 * @param {string[]} args
 * @returns {Promise<{ code: number | null, output: string }>}
 */
function run(command, args) {
  const env = { CMAKE_BUILD_PARALLEL_LEVEL: `${availableParallelism()}`, ...process.env };
  const child = spawn(command, args, { cwd: folder, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  child.stdout.on("data", (chunk) => (output += chunk));
  child.stderr.on("data", (chunk) => (output += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => resolve({ code, output }));
  });
}

/**
 * What the compiler or CMake says first is the cause of the rest.
 *
 * @param {string} output
 */
function summary(output) {
  const lines = output.split("\n").map((line) => line.trim());
  const first = lines.findIndex((line) => /\berror\b/i.test(line));
  return lines.slice(Math.max(first, 0), Math.max(first, 0) + 8).join("\n  ");
}
