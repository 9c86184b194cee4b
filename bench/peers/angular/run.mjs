// Angular distances of `slayer importance` beside a plain computation with Transformers, on the same model and text.
//
//   node bench/peers/angular/run.mjs --python PYTHON --model DIR --data FILE.jsonl [--sequence-length 128] [--backend cpu] [--out FILE]
//
// For every choice of token, unit and last state: the largest difference over all pairs of states, which must be at most 1e-4 (of π
// or radians); exit code 1 otherwise. Needs the built packages (pnpm build) and a Python with torch and transformers.
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    python: { type: "string", default: "python3" },
    model: { type: "string" },
    data: { type: "string" },
    "sequence-length": { type: "string", default: "128" },
    backend: { type: "string", default: "cpu" },
    out: { type: "string" },
  },
});
const { python, model, data, "sequence-length": length, backend, out } = values;
if (!model || !data) throw new Error("expected --model DIR and --data FILE.jsonl");
const TOLERANCE = 1e-4;
const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

function run(command, args) {
  const { status, stdout } = spawnSync(command, args, { stdio: ["ignore", "pipe", "inherit"], maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${command} ${args[0]} ended with ${status}`);
  return JSON.parse(stdout.toString());
}

const theirs = run(python, [path("./distances.py"), model, data, length, String(cpus().length)]);
const rows = [];
for (const [choice, wanted] of Object.entries(theirs.distances)) {
  const [token, unit, final] = choice.split(" ");
  const options = [
    "--token",
    token,
    "--unit",
    unit,
    "--final",
    final,
    "--sequence-length",
    length,
    "--sequences",
    "1000000",
  ];
  const common = ["--data", data, "--backend", backend, "--json", "--quiet"];
  const ours = run(process.execPath, [
    path("../../../packages/cli/dist/bin.js"),
    "importance",
    model,
    ...options,
    ...common,
  ]);
  const { distances, samples } = ours;
  if (samples !== theirs.sequences) throw new Error(`${samples} sequences, theirs ${theirs.sequences}`);
  const largest = Math.max(
    ...distances.flatMap((row, l) => row.map((d, m) => (l === m ? 0 : Math.abs(d - wanted[l][m])))),
  );
  rows.push({ token, unit, final, largest_difference: largest, within: largest <= TOLERANCE });
}
const { distances: _, ...peer } = theirs;
const document = {
  date: new Date().toISOString().slice(0, 10),
  machine: `${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`,
  peer,
  blocks: Object.values(theirs.distances)[0].length - 1,
  sequence_length: Number(length),
  backend,
  tolerance: TOLERANCE,
  rows,
};
const text = `${JSON.stringify(document, null, 2)}\n`;
process.stdout.write(text);
if (out) writeFileSync(out, text);
if (!rows.every(({ within }) => within)) process.exitCode = 1;
