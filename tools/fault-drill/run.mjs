// Faults that a training run must survive: the process killed at random moments, a damaged checkpoint, a full disk. After each
// the run is resumed; in the end its curve and its weights must equal those of a run without faults, bit for bit.
//
//   node tools/fault-drill/run.mjs [--kills 50] [--seed 1] [--backend cpu] [--steps 1500]
//
// The full disk is a small tmpfs: that part needs Linux and the right to mount, and says so where it is left out. Exit 0 only if
// everything held.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeModel } from "./model.mjs";

const bin = fileURLToPath(new URL("../../packages/cli/dist/bin.js", import.meta.url));
const { values } = parseArgs({
  options: {
    kills: { type: "string", default: "50" },
    seed: { type: "string", default: "1" },
    steps: { type: "string", default: "1500" },
    backend: { type: "string", default: "auto" },
  },
});
const [KILLS, STEPS] = [Number(values.kills), Number(values.steps)];

/** Uniform in [0, 1): mulberry32 (Tommy Ettinger). */
let state = Number(values.seed) >>> 0;
function random() {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), state | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}

const dir = mkdtempSync(join(tmpdir(), "slayer-drill-"));
const recipe = join(dir, "recipe.yaml");

/**
 * Runs `slayer train` on a directory, and kills it after so many milliseconds, if given.
 *
 * @param {string} out
 * @param {string[]} args
 * @param {number} [killAfter]
 * @returns {Promise<{ code: number | null, killed: boolean, stderr: string, seconds: number, startup: number }>} seconds of the
 *   whole, and until the first step was done
 */
function train(out, args = [], killAfter) {
  return new Promise((resolve) => {
    const started = performance.now();
    const command = [bin, "train", recipe, "--backend", values.backend, "--set", `out=${out}`, ...args];
    const child = spawn(process.execPath, command, { stdio: ["ignore", "ignore", "pipe"] });
    let stderr = "";
    child.stderr.on("data", (chunk) => (stderr += String(chunk)));
    let startup = 0;
    const before = lastStep(out);
    const watch = setInterval(() => {
      if (startup === 0 && lastStep(out) > before) startup = (performance.now() - started) / 1000;
    }, 5);
    const timer = killAfter === undefined ? undefined : setTimeout(() => child.kill("SIGKILL"), killAfter);
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      clearInterval(watch);
      resolve({ code, killed: signal === "SIGKILL", stderr, startup, seconds: (performance.now() - started) / 1000 });
    });
  });
}

/** @param {string} out */
function curve(out) {
  const lines = readFileSync(join(out, "metrics.jsonl"), "utf8").trimEnd().split("\n");
  return lines.map((line) => {
    const { seconds: _, tokens_per_second: __, mfu: ___, ...rest } = JSON.parse(line);
    return JSON.stringify(rest);
  });
}

/** @param {string} out */
const lastStep = (out) =>
  existsSync(join(out, "metrics.jsonl")) ? readFileSync(join(out, "metrics.jsonl"), "utf8").split("\n").length - 1 : 0;

/** @type {string[]} */
const failures = [];

/**
 * @param {string} what
 * @param {boolean} held
 * @param {string} [detail]
 */
function check(what, held, detail = "") {
  console.log(`${held ? "held  " : "FAILED"}  ${what}`);
  if (!held) failures.push(`${what}\n${detail}`);
}

/** @param {string} what @param {string} out */
function compare(what, out) {
  const same = JSON.stringify(curve(out)) === JSON.stringify(curve(whole));
  check(`${what}: the curve of ${STEPS} steps equals that of the run without faults`, same);
  const weights = (/** @type {string} */ run) => readFileSync(join(run, "model", "model.safetensors"));
  check(`${what}: so do the weights, bit for bit`, weights(out).equals(weights(whole)));
  const left = readdirSync(join(out, "checkpoints")).filter((name) => name.startsWith("."));
  check(`${what}: nothing half-written is left among the checkpoints`, left.length === 0, left.join(", "));
}

const whole = join(dir, "whole");
await writeModel(join(dir, "model"), join(dir, "text.jsonl"), random);
writeFileSync(
  recipe,
  `model: ${join(dir, "model")}
trainable: all
data: [{path: ${join(dir, "text.jsonl")}}]
sequence_length: 32
batch: {sequences: 4, micro: 2}
steps: ${STEPS}
optimizer: {lr: 0.003}
checkpoint: {every: 5, keep: 2}
out: ${whole}
`,
);

try {
  const clean = await train(whole);
  check("a run without faults ends with exit 0", clean.code === 0, clean.stderr);
  console.log(`        ${STEPS} steps in ${clean.seconds.toFixed(1)} s, the first after ${clean.startup.toFixed(1)} s`);

  const out = join(dir, "killed");
  let hits = 0;
  while (hits < KILLS) {
    hits += await killAndResume(out, KILLS - hits, clean);
    compare("kill -9", out);
    if (hits < KILLS) rmSync(out, { recursive: true }); // It ended early: once more, until all kills have struck.
  }
  check(`${KILLS} × kill -9`, true);

  const newest = readdirSync(join(out, "checkpoints")).sort().at(-1);
  const file = join(out, "checkpoints", String(newest), "model.safetensors");
  const bytes = readFileSync(file);
  bytes[Math.floor(random() * bytes.length)] ^= 1 << Math.floor(random() * 8);
  writeFileSync(file, bytes);
  rmSync(join(out, "model"), { recursive: true });
  const mended = await train(out, ["--resume"]);
  check("one flipped bit in the newest checkpoint is found", mended.stderr.includes("damaged"), mended.stderr);
  compare("damaged checkpoint", out);

  await fullDisk();
} finally {
  spawnSync("umount", [join(dir, "small")], { stdio: "ignore" });
  rmSync(dir, { recursive: true, force: true });
}
for (const failure of failures) console.error(`\n${failure}`);
process.exitCode = failures.length === 0 ? 0 : 1;

/**
 * Starts a run and kills it at random moments until it has ended or was killed often enough; then lets it end.
 *
 * @param {string} out
 * @param {number} most
 * @param {{ seconds: number, startup: number }} clean a run without faults
 */
async function killAndResume(out, most, { seconds, startup }) {
  const moments = [];
  /** @type {string[]} */
  let args = [];
  while (moments.length < most) {
    // Mostly while it trains and saves, but while it starts up and resumes too.
    const after = 1000 * (0.6 * startup + random() * (0.4 * startup + (1.5 * (seconds - startup)) / KILLS));
    const { killed, code, stderr } = await train(out, args, after);
    if (existsSync(join(out, "recipe.json"))) args = ["--resume"];
    if (!killed && code !== 0) check(`resumed after step ${lastStep(out)}`, false, stderr);
    if (!killed) break;
    moments.push(lastStep(out));
  }
  console.log(`        killed after steps ${moments.join(" ")}`);
  const rest = await train(out, ["--resume"]);
  check("resumed to the end", rest.code === 0, rest.stderr);
  return moments.length;
}

/** A run on a file system that has room for one checkpoint; then there is more room, and it goes on. */
async function fullDisk() {
  const small = join(dir, "small");
  mkdirSync(small);
  const megabytes = 3;
  if (spawnSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", small]).status !== 0) {
    console.log("left out  full disk: needs the right to mount a tmpfs");
    return;
  }
  const out = join(small, "run");
  const full = await train(out);
  const good = readdirSync(join(out, "checkpoints")).filter((name) => name.startsWith("step-"));
  console.log(
    `        on ${megabytes} MB: exit ${full.code}, after step ${lastStep(out)}, checkpoints ${good.join(" ") || "none"}`,
  );
  check("full disk: the run says so", /no space|could not be written|ENOSPC/.test(full.stderr), full.stderr);
  check("full disk: a command that could not finish does not exit 0", full.code !== 0);
  check("full disk: the last good checkpoint is there", good.length > 0);
  spawnSync("mount", ["-o", "remount,size=64m", small]);
  const resumed = await train(out, ["--resume"]);
  check("full disk: resumed to the end once there is room", resumed.code === 0, resumed.stderr);
  compare("full disk", out);
}
