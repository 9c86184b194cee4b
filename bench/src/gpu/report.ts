/** What a folder of results says, as a page: tools/gpu/run.sh and tools/gpu/webgpu.sh write it beside them. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import type { DevicePeaks } from "./device-peaks.js";
import { type KernelRow, percent } from "./kernels.js";
import type { ProfileRow } from "./profile.js";

/** As main.ts writes them; parts that did not run are not there. */
interface Results {
  readonly device: string;
  readonly date: string;
  readonly node: string;
  readonly measured?: DevicePeaks;
  readonly conformance?: {
    passed: number;
    failed: readonly unknown[];
    maxRelativeError: Readonly<Record<string, number>>;
  };
  readonly curve?: readonly { dtype: string; apart: number; allowed: number }[];
  readonly kernels?: readonly KernelRow[];
  readonly step?: StepRow & {
    mfu?: number;
    plannedBytes: number;
    usedBytes?: number;
    stochastic?: boolean;
    recompute?: boolean;
  };
  readonly profile?: readonly ProfileRow[];
}
interface StepRow {
  readonly tokensPerSecond: number;
  readonly secondsPerStep: number;
  readonly batch: number;
}
/** As bench/peers/gpu/torch_peer.py writes them. */
interface Peers {
  readonly device: string;
  readonly torch: string;
  readonly kernels?: readonly { name: string; seconds: number; flops: number; bandwidth: number }[];
  readonly steps?: readonly (StepRow & { name: string; masters: boolean; checkpointing: boolean; peakBytes: number })[];
}

/** Folders beside the results whose steps were run in another way. */
const OTHERS = [
  ["", ""],
  ["after-the-peer", ", after PyTorch's"],
  ["no-masters", ""],
  ["batch-4", ""],
  ["tuned", ", products by the tuner"],
  ["half", ", products by the tuner, of operands rounded to f16 too"],
] as const;

/** Writes NAME.md for each NAME.json of a device in the folder; returns the pages' paths. What cannot be read is left out, and named on stderr. */
export async function writeReports(folder: string): Promise<string[]> {
  const files = (await readdir(folder)).filter((file) => file.endsWith(".json"));
  const peers = files.filter((file) => file.startsWith("peers-gpu-"));
  const theirs = await Promise.all(peers.map((file) => readJson<Peers>(join(folder, file))));
  const pages: string[] = [];
  for (const file of files.filter((name) => !name.startsWith("peers-"))) {
    const main = await readJson<Partial<Results>>(join(folder, file));
    const { device, date } = main ?? {};
    if (typeof device !== "string" || typeof date !== "string") continue;
    if ((main?.kernels ?? main?.conformance) === undefined) continue;
    const found = OTHERS.map(async ([name, said]) => {
      const results = await readJson<Results>(join(folder, name, file));
      return results ? [{ name, said, results }] : [];
    });
    const page = join(folder, `${basename(file, ".json")}.md`);
    await writeFile(
      page,
      report(
        (await Promise.all(found)).flat(),
        file.startsWith("webgpu-") ? "webgpu" : "cuda",
        theirs.find((peer) => peer && device.startsWith(peer.device)),
      ),
    );
    pages.push(page);
  }
  return pages;
}

/** The page for one device: the first of `found` are its results, the others steps run in other ways. */
function report(
  found: readonly { readonly name: string; readonly said: string; readonly results: Results }[],
  backend: "cuda" | "webgpu",
  peers: Peers | undefined,
): string {
  const main = found[0]!.results;
  const tuned = found.find(({ name }) => name === "tuned")?.results;
  const sections = [
    `# ${main.device}`,
    `${main.date.slice(0, 10)}, Node ${main.node}${peers ? `, PyTorch ${peers.torch}` : ""}. Made by \`tools/gpu/${backend === "webgpu" ? "webgpu" : "run"}.sh\`.`,
    checks(main, backend),
    steps(found, peers),
    main.kernels && kernels(main, tuned?.kernels ?? [], peers?.kernels ?? []),
    main.profile && profileTable(main.profile),
  ];
  return `${sections.filter(Boolean).join("\n\n")}\n`;
}

function checks({ conformance, curve, measured }: Results, backend: "cuda" | "webgpu"): string {
  const lines: string[] = [];
  if (conformance) {
    const worst = (storage: string) => {
      const errors = Object.entries(conformance.maxRelativeError);
      return Math.max(0, ...errors.flatMap(([key, e]) => (key.endsWith(`, ${storage}`) ? [e] : []))).toExponential(1);
    };
    lines.push(
      `- Conformance: ${conformance.passed} passed, ${conformance.failed.length} failed; largest relative error f32 ` +
        `${worst("f32")}, with weights in bf16 ${worst("bf16 weights")}, bf16 ${worst("bf16")}.`,
    );
  }
  for (const { dtype, apart, allowed } of curve ?? []) {
    lines.push(
      `- 50 steps in ${dtype} beside the reference executor: ${apart.toExponential(1)} nats apart (allowed ${allowed}).`,
    );
  }
  if (measured) {
    const { bf16, f32, bandwidth } = measured;
    // WGSL has no tensor cores: products of bf16 are bounded by the same multiply-adds.
    const ofTensorCores = backend === "cuda" ? `${tera(bf16)} TFLOP/s in bf16 (a product of 8192³), ` : "";
    lines.push(
      `- Peaks measured in the same run: ${ofTensorCores}${tera(f32)} TFLOP/s in f32 (multiply-adds in registers), ` +
        `${giga(bandwidth)} GB/s (a copy).`,
    );
  }
  return lines.join("\n");
}

function steps(found: Parameters<typeof report>[0], peers: Peers | undefined): string {
  const theirs = peers?.steps ?? [];
  const rows = found.flatMap(({ said, results: { step } }) => {
    if (!step) return [];
    const masters = step.stochastic !== true;
    const times = theirs
      .filter((s) => s.batch === step.batch)
      .map((s) => {
        const how = `${s.masters ? "" : "no "}masters${s.checkpointing ? ", checkpointing" : ""}`;
        return `${(step.tokensPerSecond / s.tokensPerSecond).toFixed(2)} (${how})`;
      });
    const mfu = step.mfu === undefined ? "" : `${(100 * step.mfu).toFixed(1)} %`;
    const name = `batch ${step.batch}${masters ? "" : ", no masters"}${step.recompute ? ", recomputed" : ""}${said}`;
    return [[name, ...rates(step), mfu, gib(step.plannedBytes), gib(step.usedBytes), times.join(", ")]];
  });
  for (const s of theirs)
    rows.push([`PyTorch: ${s.name.replace("step, ", "")}`, ...rates(s), "", "", gib(s.peakBytes), ""]);
  if (rows.length === 0) return "";
  return `## Steps of continued pre-training\n\n${table(["", "tokens/s", "ms", "MFU", "planned", "in use", "× PyTorch"], rows)}`;
}

const rates = (s: StepRow) => [s.tokensPerSecond.toFixed(0), (s.secondsPerStep * 1e3).toFixed(0)];

function kernels(main: Results, tuned: readonly KernelRow[], theirs: NonNullable<Peers["kernels"]>): string {
  const rows = main.kernels!.map((row) => {
    if (row.problem !== undefined) return [row.name, row.problem, "", "", "", "", ""];
    const other = tuned.find(({ name }) => name === row.name);
    const peer = theirs.find(({ name }) => name === row.name.replaceAll("×", "x"));
    const rate = (r: { flops: number; bandwidth: number }) =>
      row.flops > 0 ? `${tera(r.flops)} TFLOP/s` : `${giga(r.bandwidth)} GB/s`;
    return [
      row.name,
      `${(row.seconds * 1e6).toFixed(1)} ± ${(100 * row.spread).toFixed(1)} %`,
      rate(row),
      row.target ? percent(row.target.reached) : "",
      row.target ? percent(row.target.share) : "",
      other && other.problem === undefined ? rate(other) : "",
      peer ? rate(peer) : "",
    ];
  });
  const aimed = main.kernels!.flatMap((row) =>
    row.problem === undefined && row.target ? [{ name: row.name, ...row.target }] : [],
  );
  const missed = aimed.filter(({ reached, share }) => reached < share);
  const said =
    aimed.length > 0 &&
    ` ${aimed.length - missed.length} of ${aimed.length} reach their target` +
      (missed.length === 0 ? "." : `; below it: ${missed.map(({ name }) => name).join("; ")}.`);
  const head = ["kernel", "µs", "rate", "of its peak", "target", "by the tuner", "PyTorch"];
  return (
    `## Kernels\n\nShares of the measured peak that bounds a kernel; what is computed again counts as work (bench/src/gpu/targets.ts).${said || ""}\n\n` +
    table(head, rows)
  );
}

function profileTable(rows: readonly ProfileRow[]): string {
  const total = rows.reduce((sum, { seconds }) => sum + seconds, 0);
  const cells = rows.map(({ name, count, seconds, flops, bytes }) => [
    (seconds * 1e3).toFixed(2),
    percent(seconds / total),
    String(count),
    flops > 0 ? `${tera(flops / seconds)} TFLOP/s` : `${giga(bytes / seconds)} GB/s`,
    name,
  ]);
  return (
    `## What a step is made of\n\nEach kernel by itself, times how often the step has it: ${(total * 1e3).toFixed(1)} ms in all.\n\n` +
    table(["ms", "share", "times", "rate", ""], cells)
  );
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cell = (text: string) => text.replaceAll(/\s+/g, " ").replaceAll("|", "\\|"); // a problem's message may have several lines
  return [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.map(cell).join(" | ")} |`).join("\n");
}

/** Undefined where there is none, or one that was cut off while it was written. */
async function readJson<T>(path: string): Promise<T | undefined> {
  try {
    return (JSON.parse(await readFile(path, "utf8")) as T | null) ?? undefined;
  } catch (error) {
    if (error instanceof SyntaxError) console.error(`${path} is left out, it is no JSON: ${error.message}`);
    else if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    return undefined;
  }
}

const tera = (flops: number) => (flops / 1e12).toPrecision(3);
const giga = (bytes: number) => (bytes / 1e9).toFixed(0);
const gib = (bytes: number | undefined) => (bytes === undefined ? "" : `${(bytes / 2 ** 30).toFixed(2)} GiB`);
