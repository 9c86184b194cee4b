/**
 * What a GPU can tell in a few minutes: conformance of every kernel, the time of each at the sizes of a 7 B block, and steps of
 * continued pre-training at the geometry of Llama SLayer 8B with random weights. tools/gpu/run.sh calls it.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { conformance } from "@slayer/backend-conformance";
import { createCudaBackend, CudaUnavailableError } from "@slayer/backend-cuda";
import { AdapterMissingError, createWebgpuBackend } from "@slayer/backend-webgpu";
import { type ModelConfig, parseConfig } from "@slayer/checkpoint";
import { type Backend, fusedOps, type Plan, type TuningStore } from "@slayer/tensor";
import { slug } from "../../machine.mjs";
import { curves } from "./curve.js";
import { type DevicePeaks, peaksOf } from "./device-peaks.js";
import { timeKernels } from "./kernels.js";
import { measurePeaks } from "./measured-peaks.js";
import { profile } from "./profile.js";
import { writeReports } from "./report.js";
import { LARGE, TINY } from "./shapes.js";
import { type StepOptions, trainSteps } from "./step.js";

const USAGE = `usage: node gpu.js [--parts PARTS] [--size large|tiny] [--batch N] [--out FOLDER]

  --backend NAME  cuda or webgpu (default: cuda)
  --parts PARTS   of conformance, curve (50 steps of a small model beside the reference executor), kernels, step and profile
                  (a step, and what it is made of), with commas between (default: all but profile)
  --size SIZE     large: 7 B sizes, for a GPU with 80 GB; tiny: to try the program (default: large)
  --batch N       sequences in a training step (default: 1)
  --stochastic    in the training step, what is trained is bf16 alone, without f32 masters, and rounded stochastically
  --recompute     in the training step, compute blocks again instead of keeping what they hold
  --tune          measure the ways to compute each product first and take the fastest; cuda: cuBLASLt's among them where it is installed
  --half          webgpu, with --tune: ways that round operands to f16 too
  --report FOLDER nothing but a page, DEVICE.md, of the results that earlier calls wrote into FOLDER
  --out FOLDER    also write the results into FOLDER as DEVICE.json, beside the parts that are in it`;

const { values: options } = parseArgs({
  options: {
    backend: { type: "string", default: "cuda" },
    parts: { type: "string", default: "conformance,curve,kernels,step" },
    size: { type: "string", default: "large" },
    batch: { type: "string", default: "1" },
    stochastic: { type: "boolean", default: false },
    recompute: { type: "boolean", default: false },
    tune: { type: "boolean", default: false },
    half: { type: "boolean", default: false },
    report: { type: "string" },
    out: { type: "string" },
    help: { type: "boolean", short: "h", default: false },
  },
});

/** What was measured, for this process and its results. */
let chosen: Record<string, string> = {};
const tuning: TuningStore = {
  load: async () => undefined,
  save: async (_, text) => {
    chosen = JSON.parse(text) as Record<string, string>;
  },
};

if (options.help) console.log(USAGE);
else if (options.report !== undefined) for (const page of await writeReports(options.report)) console.log(page);
else process.exitCode = await main().catch(unavailable);

async function main(): Promise<number> {
  const backend = await open(options.backend);
  const { device } = backend.capabilities;
  const peaks = arithmeticPeaks(backend, peaksOf(device));
  const large = options.size === "large";
  console.log(`${device}, Node ${process.version}, ${new Date().toISOString()}`);
  console.log(
    peaks ? `peaks by its datasheet: ${peaksInWords(peaks)}` : "this device's datasheet is not known: no MFU is given",
  );
  const result: Record<string, unknown> = { device, node: process.version, date: new Date().toISOString(), peaks };
  let failed = 0;
  for (const part of options.parts.split(",")) {
    const start = performance.now();
    console.log(`\n== ${part}`);
    if (part === "conformance") {
      const found = await conform(backend);
      failed += found.failed.length;
      result[part] = found;
    } else if (part === "kernels") {
      const measured = await measurePeaks(backend, large ? "large" : "tiny");
      console.log(`peaks measured now: ${peaksInWords(measured)}`);
      const rows = await timeKernels(backend, large ? LARGE : TINY, measured);
      result.measured = measured;
      failed += rows.filter((row) => row.problem !== undefined || (row.error ?? 0) > 2 ** -7).length;
      result[part] = rows;
    } else if (part === "curve") {
      const found = await curves(backend, geometry(false), [1, 2]);
      for (const { dtype, apart, allowed, losses, reference } of found) {
        console.log(
          `50 steps in ${dtype}: losses ${losses[0]!.toFixed(4)} to ${losses.at(-1)!.toFixed(4)}, the reference's ` +
            `${reference[0]!.toFixed(4)} to ${reference.at(-1)!.toFixed(4)}, at most ${apart.toExponential(1)} nats apart ` +
            `(allowed ${allowed})`,
        );
        if (!(apart <= allowed)) failed++;
      }
      result[part] = found;
    } else if (part === "step" || part === "profile") {
      const { plans, ...found } = await step(backend, large, peaks);
      if (!found.falls) failed++;
      result.step = found;
      if (part === "profile") result[part] = await parts(backend, plans, found.config.vocabSize);
    } else throw new Error(`--parts: there is no '${part}'\n\n${USAGE}`);
    if (options.tune) {
      result.products = chosen;
      for (const [product, variant] of Object.entries(chosen)) console.log(`${product.padEnd(44)} ${variant}`);
    }
    console.log(`(${((performance.now() - start) / 1000).toFixed(1)} s)`);
    // After each part, so that what was found is there if a later one fails.
    if (options.out !== undefined)
      await write(
        join(options.out, `${options.backend === "cuda" ? "" : `${backend.name}-`}${slug(device)}.json`),
        result,
      );
  }
  await backend.close();
  return failed === 0 ? 0 : 1;
}

/** A device that cannot be used is no fault of the program: 2. */
function unavailable(error: unknown): number {
  if (!(error instanceof CudaUnavailableError || error instanceof AdapterMissingError)) throw error;
  console.error(error.message);
  return 2;
}

async function open(name: string): Promise<Backend> {
  if (name === "cuda") return createCudaBackend(options.tune ? { tuning } : {});
  if (name === "webgpu") return createWebgpuBackend(options.tune ? { tuning, half: options.half } : {});
  throw new Error(`--backend: there is no '${name}'\n\n${USAGE}`);
}

/** WGSL computes in f32 on the ordinary cores, whatever is stored. */
function arithmeticPeaks({ name }: Backend, peaks: DevicePeaks | undefined): DevicePeaks | undefined {
  return peaks && name === "webgpu" ? { ...peaks, bf16: peaks.f32 } : peaks;
}

async function conform(backend: Backend) {
  let passed = 0;
  const failed: { name: string; problems: readonly string[] }[] = [];
  const worst: Record<string, number> = {};
  for await (const found of conformance(backend)) {
    const { name, op, attrs, storage = "f32" } = found.case;
    if (found.status === "unsupported" && fusedOps.includes(op)) continue; // plans have its parts
    if (found.status === "unsupported" && attrs.stochastic === true) continue; // cuda only
    if (found.status !== "passed") {
      const problems = found.status === "unsupported" ? [found.reason] : found.problems;
      failed.push({ name, problems });
      console.log(`FAILED ${name}: ${problems[0]}`);
      continue;
    }
    passed++;
    const key = `${op}, ${storage}`;
    worst[key] = Math.max(worst[key] ?? 0, found.maxRelativeError);
  }
  console.log(`${passed} passed, ${failed.length} failed`);
  return { passed, failed, maxRelativeError: worst };
}

async function step(backend: Backend, large: boolean, peaks: DevicePeaks | undefined) {
  const config = geometry(large);
  const batch = Number(options.batch);
  const stepOptions: StepOptions = {
    config,
    // New blocks after originals 1, 3, …, 15, and the last: Llama SLayer 8B's.
    trained: large ? [2, 5, 8, 11, 14, 17, 20, 23, 37] : [1, 2],
    batch,
    length: large ? 4096 : 32,
    recompute: options.recompute,
    stochastic: options.stochastic,
    steps: large ? 6 : 3,
    memoryInUse,
  };
  const found = await trainSteps(backend, stepOptions);
  const mfu = peaks && found.modelFlops / found.secondsPerStep / peaks.bf16;
  console.log(
    `${config.blocks} blocks, ${stepOptions.trained.length} trained, ${batch} × ${stepOptions.length} tokens, bf16` +
      `${options.stochastic ? ", no masters" : ""}${options.recompute ? ", recomputed" : ""}: ${found.tokensPerSecond.toFixed(0)} tokens/s, ` +
      `${(found.secondsPerStep * 1e3).toFixed(0)} ms a step, ${(found.modelFlops / 1e12).toFixed(1)} TFLOP by the plan` +
      (mfu === undefined ? "" : `, MFU ${(100 * mfu).toFixed(1)} %`),
  );
  const used = found.usedBytes === undefined ? "" : `, in use ${gib(found.usedBytes)} by the driver`;
  console.log(`memory planned ${gib(found.plannedBytes)}${used}`);
  console.log(
    `losses ${found.losses.map((x) => x.toFixed(4)).join(" ")}; norms ${found.norms.map((x) => x.toFixed(3)).join(" ")}`,
  );
  const falls = found.losses.every((x) => Number.isFinite(x)) && found.losses.at(-1)! < found.losses[0]!;
  if (!falls) console.log("FAILED: the loss does not fall");
  const { memoryInUse: _, ...said } = stepOptions;
  return { ...found, ...said, config: { ...config }, mfu, falls };
}

async function parts(backend: Backend, plans: readonly Plan[], vocabSize: number) {
  const rows = await profile(backend, plans, vocabSize);
  const total = rows.reduce((sum, { seconds }) => sum + seconds, 0);
  for (const { name, count, seconds, flops, bytes } of rows) {
    const cells = [
      `${(seconds * 1e3).toFixed(2)} ms`.padStart(10),
      `${((100 * seconds) / total).toFixed(1)} %`.padStart(7),
      `${count} ×`.padStart(6),
      `${(flops / seconds / 1e12).toFixed(0)} TFLOP/s`.padStart(12),
      `${(bytes / seconds / 1e9).toFixed(0)} GB/s`.padStart(10),
    ];
    console.log(`${cells.join("  ")}  ${name}`);
  }
  console.log(`${(total * 1e3).toFixed(1)} ms in all`);
  return rows;
}

/** Llama 2 7B with Llama SLayer 8B's 38 blocks; or next to nothing. */
function geometry(large: boolean): ModelConfig {
  return parseConfig(
    {
      model_type: "llama",
      architectures: ["LlamaForCausalLM"],
      vocab_size: large ? 32_000 : 128,
      hidden_size: large ? 4096 : 128,
      intermediate_size: large ? 11_008 : 192,
      num_hidden_layers: large ? 38 : 3,
      num_attention_heads: large ? 32 : 2,
      num_key_value_heads: large ? 32 : 1,
      max_position_embeddings: 4096,
      rms_norm_eps: 1e-5,
      hidden_act: "silu",
      tie_word_embeddings: false,
      torch_dtype: "bfloat16",
    },
    "config.json",
  );
}

/** Bytes of the device's memory that are in use, as nvidia-smi says, where there is one. */
function memoryInUse(): number | undefined {
  try {
    const query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    return Number.parseInt(execFileSync("nvidia-smi", query, { encoding: "utf8" }), 10) * 2 ** 20;
  } catch {
    return undefined;
  }
}

/** Parts that an earlier call has written stay. */
async function write(path: string, result: Readonly<Record<string, unknown>>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const before = existsSync(path) ? (JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>) : {};
  await writeFile(path, `${JSON.stringify({ ...before, ...result }, null, 2)}\n`);
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}

function peaksInWords({ bf16, f32, bandwidth }: DevicePeaks): string {
  const tera = (flops: number) => (flops / 1e12).toPrecision(3);
  return `${tera(bf16)} TFLOP/s bf16, ${tera(f32)} f32, ${(bandwidth / 1e9).toFixed(0)} GB/s`;
}
