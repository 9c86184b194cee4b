import { cases, type KernelCase } from "@slayer/kernels";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Backend } from "@slayer/tensor";
import { processor, slug } from "../machine.mjs";
import { type BenchBackend, backends } from "./backends.js";
import { regressions, unknown } from "./check.js";
import { prepare, sample } from "./measure.js";
import type { Peaks } from "./peaks.js";
import { formatPeaks, formatSeconds, formatTable, resultPath, type Result, type Row, writeResult } from "./report.js";
import { roofline } from "./roofline.js";
import { together } from "./rounds.js";
import { median, quantile } from "./statistics.js";

const USAGE = `usage: pnpm bench [--backend NAME] [--filter TEXT] [--seconds S] [--json OUT] [--check] [--save]

  --backend NAME  ${Object.keys(backends).join(", ")} (default: reference)
  --filter TEXT   only cases whose name contains TEXT, e.g. "matmul NT"
  --seconds S     sampling time per case (default: 0.3); slow cases take at least five runs
  --json OUT      also write the results to OUT, or into the folder OUT as BACKEND-CPU.json; relative to bench/
  --check         compare with this machine class' baseline; what seems slower is timed again, and exit 1 if it stays so
  --save          make five rounds the baseline of this machine class; with --filter, of these cases only
  --baseline FILE another baseline than bench/baselines/BACKEND-CPU-THREADS.json`;

/** Times that a baseline goes over all cases, so that it holds what the machine's other work takes between them. */
const BASELINE_ROUNDS = 5;

const { values: options } = parseArgs({
  options: {
    backend: { type: "string", default: "reference" },
    filter: { type: "string", default: "" },
    seconds: { type: "string", default: "0.3" },
    json: { type: "string" },
    check: { type: "boolean", default: false },
    save: { type: "boolean", default: false },
    baseline: { type: "string" },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (options.help) console.log(USAGE);
else await main();

async function main(): Promise<void> {
  const chosen = backends[options.backend];
  const seconds = Number(options.seconds);
  const selected = cases.filter((c) => c.bench && c.name.includes(options.filter));
  if (!chosen) fail(`there is no backend '${options.backend}'`);
  if (!(seconds > 0)) fail(`--seconds wants a positive number, got '${options.seconds}'`);
  if (selected.length === 0) fail(`no case to time has '${options.filter}' in its name`);

  const backend = await chosen.create().catch((error: Error) => fail(error.message));
  const path = options.baseline ?? baselinePath(backend);
  const baseline = options.check ? await readBaseline(path) : undefined;
  const peaks = await chosen.peaks();
  console.log(`${backend.name} on ${backend.capabilities.device}, ${processor()}, Node ${process.versions.node}`);
  console.log(`${formatPeaks(peaks)}\n`);
  const rounds: Row[][] = [];
  for (let round = 0; round < (options.save ? BASELINE_ROUNDS : 1); round++) {
    rounds.push(await timeAll(backend, selected, seconds, peaks));
  }
  const rows = together(rounds);
  console.log(formatTable(rows));
  console.log("\nA kernel that only writes, or whose operands stay in a cache, can exceed the peak of a copy.");

  const { device } = backend.capabilities;
  const { node } = process.versions;
  const result: Result = {
    backend: backend.name,
    device,
    cpu: processor(),
    node,
    date: new Date().toISOString(),
    peaks,
    rows,
  };
  for (const out of [options.json && resultPath(options.json, backend.name), options.save && path]) {
    if (!out) continue;
    await writeResult(out, out === path ? { ...result, rows: await withOthers(rows, path) } : result);
    console.log(`\nwritten to ${out}`);
  }
  if (baseline) await check(backend, chosen, selected, seconds, result, baseline);
  await backend.close();
}

/**
 * Reports what is slower than in the baseline. What seems so is timed twice more, beside the peaks of that moment: once quick
 * enough is quick enough.
 */
async function check(
  backend: Backend,
  { peaks }: BenchBackend,
  selected: readonly KernelCase[],
  seconds: number,
  result: Result,
  baseline: Result,
): Promise<void> {
  let slower = regressions(result, baseline);
  for (let retry = 0; retry < 2 && slower.length > 0; retry++) {
    const suspects = new Set(slower.map(({ name }) => name));
    const again = selected.filter(({ name }) => suspects.has(name));
    const now = { ...result, peaks: await peaks() };
    slower = regressions({ ...now, rows: await timeAll(backend, again, seconds, now.peaks) }, baseline);
  }
  for (const name of unknown(result, baseline)) console.log(`not in the baseline: ${name}`);
  for (const { name, before, now, allowed } of slower) {
    const times = [now, before, allowed].map(formatSeconds);
    console.error(`SLOWER ${name}: median ${times[0]}, was ${times[1]}; the quicker quarter may take ${times[2]}`);
  }
  if (slower.length > 0) process.exitCode = 1;
  else console.log(`\nnothing is slower than in the baseline of ${baseline.date.slice(0, 10)} beyond the spread`);
}

async function timeAll(
  backend: Backend,
  selected: readonly KernelCase[],
  seconds: number,
  peaks: Peaks,
): Promise<Row[]> {
  const rows: Row[] = [];
  for (const kernelCase of selected) {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${kernelCase.name}`);
    rows.push(await time(backend, kernelCase, seconds, peaks));
  }
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  return rows;
}

async function time(backend: Backend, kernelCase: KernelCase, seconds: number, peaks: Peaks): Promise<Row> {
  const { name } = kernelCase;
  const prepared = await prepare(backend, kernelCase);
  if ("unsupported" in prepared) return { name, unsupported: prepared.unsupported };
  try {
    const times = await sample(prepared.run, seconds);
    const medianSeconds = median(times);
    const quartiles = [quantile(times, 0.25), quantile(times, 0.75)] as const;
    const measured = { medianSeconds, quartiles, samples: times.length };
    return { name, ...measured, ...roofline(prepared.cost, medianSeconds, peaks) };
  } finally {
    prepared.free();
  }
}

/** Kinds of machine differ in processor and number of threads. */
function baselinePath({ name, capabilities }: Backend): string {
  const threads = /(\d+) threads?$/.exec(capabilities.device)?.[1];
  const kind = [name, slug(processor()), threads && `${threads}t`].filter(Boolean).join("-");
  return join(import.meta.dirname, "../baselines", `${kind}.json`);
}

/** These rows, and those of other cases that the baseline has. */
async function withOthers(rows: readonly Row[], path: string): Promise<Row[]> {
  if (!existsSync(path)) return [...rows];
  const names = new Set(rows.map(({ name }) => name));
  const others = (await readBaseline(path)).rows.filter(({ name }) => !names.has(name));
  return [...others, ...rows];
}

async function readBaseline(path: string): Promise<Result> {
  const text = await readFile(path, "utf8").catch(() =>
    fail(`there is no baseline ${path}; make one with --save on an idle machine, from a version you trust`),
  );
  return JSON.parse(text) as Result;
}

function fail(message: string): never {
  console.error(`bench: ${message}\n\n${USAGE}`);
  process.exit(2);
}
