// `expand` beside the published procedures restated in NumPy (procedures.py): are all tensors equal, bit for bit?
//
//   node bench/peers/surgery/run.mjs --python PYTHON --dir DIR [--hidden 512] [--blocks 32] [--out FILE]
//
// DIR gets random bases of Llama-2's proportions in BF16, F16 and F32, and is emptied again. Both sides' seconds and peak resident memory are
// shown too; NumPy holds both models and does not flush, so its time says how plain it is and no more. Needs the built packages and NumPy.
import { spawnSync } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Checkpoint } from "../../../packages/checkpoint/dist/index.js";
import { expand, planRecipe } from "../../../packages/surgery/dist/index.js";
import { writeRandomBase } from "../expand/base.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: "string", default: "python3" },
    dir: { type: "string" },
    hidden: { type: "string", default: "512" },
    blocks: { type: "string", default: "32" },
    out: { type: "string" },
  },
});
const script = fileURLToPath(new URL("./procedures.py", import.meta.url));

if (positionals[0] === "expand") {
  const [, recipe, from, to] = positionals;
  const started = performance.now();
  const base = await Checkpoint.open(from);
  await expand(base, planRecipe(recipe, base.config), to);
  await base.close();
  const peakMiB = Math.round(process.resourceUsage().maxRSS / 1024);
  process.stdout.write(JSON.stringify({ seconds: Number(((performance.now() - started) / 1000).toFixed(2)), peakMiB }));
} else {
  if (values.dir === undefined) throw new Error("--dir DIR: a folder for the checkpoints");
  await mkdir(values.dir, { recursive: true });
  const work = await mkdtemp(join(resolve(values.dir), "surgery-"));
  try {
    await compareAll((name) => join(work, name));
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function compareAll(at) {
  const rows = [];
  for (const dtype of ["BF16", "F16", "F32"]) {
    await writeRandomBase(at("base"), { hidden: Number(values.hidden), blocks: Number(values.blocks), dtype });
    for (const procedure of ["slayer", "llama-pro"]) {
      const numpy = run(values.python, [script, "make", procedure, at("base"), at("numpy")]);
      const ours = run(process.execPath, [fileURLToPath(import.meta.url), "expand", procedure, at("base"), at("ours")]);
      const { tensors, equal, first_different } = run(
        values.python,
        [script, "compare", at("ours"), at("numpy")],
        true,
      );
      rows.push({ procedure, dtype, tensors, equal, first_different, ours, numpy });
      console.log(`${procedure} ${dtype}: ${equal} of ${tensors} tensors equal; ${JSON.stringify({ ours, numpy })}`);
      for (const name of ["numpy", "ours"]) await rm(at(name), { recursive: true });
    }
    await rm(at("base"), { recursive: true });
  }
  const result = {
    command: `node bench/peers/surgery/run.mjs --python … --dir … --hidden ${values.hidden} --blocks ${values.blocks} --out …`,
    date: new Date().toISOString().slice(0, 10),
    cpu: cpus()[0].model,
    node: process.version,
    rows,
  };
  if (values.out !== undefined) await writeFile(values.out, `${JSON.stringify(result, null, 2)}\n`);
  process.exitCode = rows.every(({ tensors, equal }) => tensors === equal) ? 0 : 1;
}

/** What the command prints, as JSON. */
function run(command, args, mayFail = false) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8", maxBuffer: 2 ** 26 });
  if (error !== undefined) throw error;
  if (status !== 0 && !mayFail) throw new Error(`${command} ${args.join(" ")}: ${stderr}`);
  return JSON.parse(stdout);
}
