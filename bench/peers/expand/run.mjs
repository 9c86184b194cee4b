// `expand` beside `cp` of the same bytes: the expanded checkpoint is made, and copied, on the same disk, taking turns.
//
//   node bench/peers/expand/run.mjs --dir DIR [--hidden 2048] [--blocks 32] [--recipe slayer] [--rounds 3] [--out FILE]
//
// DIR, on the disk to be measured, gets a random bf16 base of Llama-2's proportions and is emptied again. Both sides end when
// their bytes are on the disk: expand flushes by itself, cp is followed by sync of its files. What is read may come from the page
// cache on both sides, unless the checkpoint is larger than the memory. Also the peak resident memory of expand's process, and the
// bytes that it read. Needs the built packages (pnpm build).
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { cpus, loadavg } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Checkpoint } from "../../../packages/checkpoint/dist/index.js";
import { expand, planRecipe } from "../../../packages/surgery/dist/index.js";
import { writeRandomBase } from "./base.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    dir: { type: "string" },
    hidden: { type: "string", default: "2048" },
    blocks: { type: "string", default: "32" },
    recipe: { type: "string", default: "slayer" },
    rounds: { type: "string", default: "3" },
    out: { type: "string" },
  },
});

if (positionals[0] === "expand") {
  await expandOnce(positionals[1], positionals[2]);
} else {
  if (values.dir === undefined) throw new Error("--dir DIR: a folder on the disk to be measured");
  await mkdir(values.dir, { recursive: true });
  const work = await mkdtemp(join(resolve(values.dir), "expand-"));
  try {
    await compare(work);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** In a process of its own, so that its memory is its own. */
async function expandOnce(from, to) {
  const base = await Checkpoint.open(from);
  const started = performance.now();
  const { bytesRead, bytesWritten } = await expand(base, planRecipe(values.recipe, base.config), to);
  const seconds = (performance.now() - started) / 1000;
  await base.close();
  const { maxRSS, userCPUTime, systemCPUTime } = process.resourceUsage();
  const cpuSeconds = (userCPUTime + systemCPUTime) / 1e6;
  process.stdout.write(JSON.stringify({ seconds, bytesRead, bytesWritten, cpuSeconds, peakMiB: maxRSS / 1024 }));
}

async function compare(work) {
  const at = (name) => join(work, name);
  const baseBytes = await writeRandomBase(at("base"), { hidden: Number(values.hidden), blocks: Number(values.blocks) });
  timedExpand(at("base"), at("expanded"));
  const rounds = [];
  for (let round = 0; round < Number(values.rounds); round += 1) {
    const sides = {};
    for (const side of round % 2 === 0 ? ["cp", "expand"] : ["expand", "cp"]) {
      run("sync", []);
      sides[side] = side === "cp" ? await timedCopy(at("expanded"), at("out")) : timedExpand(at("base"), at("out"));
      await rm(at("out"), { recursive: true });
    }
    rounds.push(sides);
    const { cp, expand: ours } = sides;
    console.log(
      `cp ${cp.seconds.toFixed(2)} s and sync ${cp.syncSeconds.toFixed(2)} s, expand ${ours.seconds.toFixed(2)} s, ` +
        `cpu ${ours.cpuSeconds.toFixed(1)} s, ${Math.round(ours.peakMiB)} MiB, load ${loadavg()[0].toFixed(1)}`,
    );
  }
  const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
  const { bytesRead, bytesWritten } = rounds[0].expand;
  const result = {
    command: `node bench/peers/expand/run.mjs ${process.argv
      .slice(2)
      .join(" ")
      .replace(/--(dir|out) \S+/g, "--$1 …")}`,
    date: new Date().toISOString().slice(0, 10),
    recipe: values.recipe,
    cpu: cpus()[0].model,
    node: process.version,
    base_bytes: baseBytes,
    bytes_read: bytesRead,
    bytes_written: bytesWritten,
    cp_gb_per_second: bytesWritten / 1e9 / median(rounds.map(({ cp }) => cp.seconds + cp.syncSeconds)),
    expand_gb_per_second: bytesWritten / 1e9 / median(rounds.map((r) => r.expand.seconds)),
    ratio: median(rounds.map(({ cp, expand: ours }) => (cp.seconds + cp.syncSeconds) / ours.seconds)),
    peak_mib: Math.max(...rounds.map((r) => r.expand.peakMiB)),
    rounds,
  };
  const { rounds: _, ...shown } = result;
  console.log(JSON.stringify(shown, null, 2));
  if (values.out !== undefined) await writeFile(values.out, `${JSON.stringify(result, null, 2)}\n`);
}

function run(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
  return stdout;
}

function timedExpand(from, to) {
  const script = fileURLToPath(import.meta.url);
  return JSON.parse(run(process.execPath, [script, "expand", from, to, "--recipe", values.recipe]));
}

async function timedCopy(from, to) {
  const started = performance.now();
  run("cp", ["-r", from, to]);
  const copied = performance.now();
  run(
    "sync",
    (await readdir(to)).map((name) => join(to, name)),
  );
  const end = performance.now();
  return { seconds: (copied - started) / 1000, syncSeconds: (end - copied) / 1000 };
}
