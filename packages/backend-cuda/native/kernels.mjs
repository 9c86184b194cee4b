#!/usr/bin/env node
/**
 * Compiles kernels/*\/*.cu with nvcc into build/Release/kernels/NAME.fatbin, each for compute capability 8.0 and 9.0a and, as PTX, for
 * what comes later, those named NAME_wgmma.cu for 9.0a alone; what is up to date stays. Beside them lie the version of nvcc's CUDA and, in
 * src, the sources of kernels that NVRTC can make for other sizes. Prints which kernels spill registers to memory or wait for each product of wgmma, with
 * --verbose also how many registers each has.
 *
 *   node native/kernels.mjs [--required] [--nvcc PATH] [--verbose]
 *
 * Exits 0 where there is no nvcc, saying so in one line; 1 only with `--required`, or when a kernel does not compile.
 * tools/gpu/nvcc.sh fetches a compiler where there is none.
 */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    required: { type: "boolean", default: false },
    nvcc: { type: "string", default: process.env.NVCC || "nvcc" },
    verbose: { type: "boolean", default: false },
  },
});
const kernels = fileURLToPath(new URL("../../../kernels", import.meta.url));
const out = fileURLToPath(new URL("../build/Release/kernels", import.meta.url));

const hopper = "arch=compute_90a,code=sm_90a";
const targets = ["arch=compute_80,code=sm_80", hopper, "arch=compute_80,code=compute_80"];
/** @param {string} source */
const flagsFor = (source) => [
  "-std=c++20",
  "-O3",
  "-fatbin",
  "--compress-mode=size",
  "-Xptxas",
  "-v",
  ...(source.endsWith("_wgmma.cu") ? [hopper] : targets).flatMap((target) => ["-gencode", target]),
];

const { status, stdout } = spawnSync(options.nvcc, ["--version"], { encoding: "utf8" });
if (status === 0) {
  const problems = await compileAll(/release (\d+\.\d+)/.exec(stdout)?.[1] ?? "");
  for (const problem of problems) console.error(problem);
  if (problems.length > 0) process.exitCode = 1;
} else {
  console.error("@slayer/backend-cuda: kernels not compiled for GPUs: no nvcc; tools/gpu/nvcc.sh fetches one");
  if (options.required) process.exitCode = 1;
}

/** @param {string} release of CUDA, whose nvcc compiles; a driver that is older may not take its kernels */
async function compileAll(release) {
  mkdirSync(out, { recursive: true });
  const folders = readdirSync(kernels, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const sources = folders.flatMap(({ name }) =>
    readdirSync(join(kernels, name))
      .filter((file) => file.endsWith(".cu"))
      .map((file) => join(kernels, name, file)),
  );
  const wanted = new Set(sources.map(targetOf));
  for (const file of readdirSync(out).filter((name) => name.endsWith(".fatbin"))) {
    if (!wanted.has(join(out, file))) rmSync(join(out, file)); // its source is gone; another may have its kernels
  }
  copySources();
  const version = join(out, "cuda-version");
  if (!existsSync(version) || readFileSync(version, "utf8") !== release) writeFileSync(version, release);
  const changed = newest([version, ...folders.flatMap(({ name }) => headersOf(join(kernels, name)))]);
  const due = sources.filter((source) => {
    const target = targetOf(source);
    return !existsSync(target) || statSync(target).mtimeMs < Math.max(changed, statSync(source).mtimeMs);
  });
  /** @type {string[]} */
  const problems = [];
  const queue = [...due];
  const worker = async () => {
    for (let source = queue.pop(); source !== undefined; source = queue.pop())
      problems.push(...(await compile(source)));
  };
  await Promise.all(Array.from({ length: Math.max(1, availableParallelism() - 1) }, worker));
  console.error(`${due.length} of ${sources.length} kernel files compiled into ${out}`);
  return problems;
}

/** What NVRTC makes kernels of that are not among these (native/nvrtc.cc), with all that it includes, beside them. */
function copySources() {
  rmSync(join(out, "src"), { recursive: true, force: true });
  const files = new Set(["attention/attention_mma.cu", "attention/attention_backward_mma.cu", "cuda/nvrtc/cstdint"]);
  for (const file of files) {
    cpSync(join(kernels, file), join(out, "src", file));
    const included = readFileSync(join(kernels, file), "utf8").matchAll(/^#include "(.*)"/gm);
    for (const [, name = ""] of included) files.add(join(dirname(file), name));
    for (const each of files) if (each.startsWith("cuda-host")) files.delete(each); // for the host
  }
}

/** @param {string} source */
function targetOf(source) {
  return join(out, `${basename(source, ".cu")}.fatbin`);
}

/** @param {string} folder */
function headersOf(folder) {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".h"))
    .map((file) => join(folder, file));
}

/** @param {string[]} files */
function newest(files) {
  return Math.max(...files.map((file) => statSync(file).mtimeMs));
}

/** @param {string} source */
async function compile(source) {
  const child = spawn(options.nvcc, [...flagsFor(source), "-o", targetOf(source), source], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  const code = await new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", resolve);
  });
  if (code !== 0) return [`${source} does not compile:\n${output}`];
  let kernel = "";
  for (const line of output.split("\n")) {
    kernel = /Compiling entry function '(\w+)' for '(\w+)'/.exec(line)?.slice(1).join(" for ") ?? kernel;
    const spilled = Number(/(\d+) bytes spill stores/.exec(line)?.[1] ?? 0);
    if (spilled > 0) console.error(`${kernel} spills ${spilled} bytes of registers to memory`);
    if (/wgmma/i.test(line) && /serializ/i.test(line)) console.error(line.trim());
    const registers = /Used (\d+) registers/.exec(line)?.[1];
    if (options.verbose && registers !== undefined) console.error(`${kernel}: ${registers} registers`);
  }
  return [];
}
