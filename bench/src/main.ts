import { cases, type KernelCase } from "@slayer/kernels";
import { parseArgs } from "node:util";
import type { Backend } from "@slayer/tensor";
import { backends } from "./backends.js";
import { prepare, sample } from "./measure.js";
import type { Peaks } from "./peaks.js";
import { formatPeaks, formatTable, processor, resultPath, type Row, writeResults } from "./report.js";
import { roofline } from "./roofline.js";
import { median, spread } from "./statistics.js";

const USAGE = `usage: pnpm bench [--backend NAME] [--filter TEXT] [--seconds S] [--json OUT]

  --backend NAME  ${Object.keys(backends).join(", ")} (default: reference)
  --filter TEXT   only cases whose name contains TEXT, e.g. "matmul NT"
  --seconds S     sampling time per case (default: 0.3); slow cases take at least five runs
  --json OUT      also write the results to OUT, or into the folder OUT as BACKEND-CPU.json; relative to bench/`;

const { values: options } = parseArgs({
  options: {
    backend: { type: "string", default: "reference" },
    filter: { type: "string", default: "" },
    seconds: { type: "string", default: "0.3" },
    json: { type: "string" },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (options.help) {
  console.log(USAGE);
} else {
  const chosen = backends[options.backend];
  const seconds = Number(options.seconds);
  const selected = cases.filter((c) => c.bench && c.name.includes(options.filter));
  if (!chosen) fail(`there is no backend '${options.backend}'`);
  if (!(seconds > 0)) fail(`--seconds wants a positive number, got '${options.seconds}'`);
  if (selected.length === 0) fail(`no case to time has '${options.filter}' in its name`);

  const backend = await chosen.create();
  const peaks = chosen.peaks();
  console.log(`${backend.name} on ${backend.capabilities.device}, ${processor()}, Node ${process.versions.node}`);
  console.log(`${formatPeaks(peaks)}\n`);
  const rows: Row[] = [];
  for (const kernelCase of selected) {
    if (process.stderr.isTTY) process.stderr.write(`\r\u001b[K${kernelCase.name}`);
    rows.push(await time(backend, kernelCase, seconds, peaks));
  }
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  console.log(formatTable(rows));
  console.log("\nA kernel that only writes, or whose operands stay in a cache, can exceed the peak of a copy.");
  if (options.json !== undefined) {
    const path = resultPath(options.json, backend.name);
    await writeResults(path, backend.name, peaks, rows);
    console.log(`\nwritten to ${path}`);
  }
  await backend.close();
}

async function time(backend: Backend, kernelCase: KernelCase, seconds: number, peaks: Peaks): Promise<Row> {
  const { name } = kernelCase;
  const prepared = await prepare(backend, kernelCase);
  if ("unsupported" in prepared) return { name, unsupported: prepared.unsupported };
  try {
    const times = await sample(prepared.run, seconds);
    const medianSeconds = median(times);
    const measured = { medianSeconds, spread: spread(times), samples: times.length };
    return { name, ...measured, ...roofline(prepared.cost, medianSeconds, peaks) };
  } finally {
    prepared.free();
  }
}

function fail(message: string): never {
  console.error(`bench: ${message}\n\n${USAGE}`);
  process.exit(2);
}
