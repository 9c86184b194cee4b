// What `slayer train` says of a run before it, beside what the run then takes: time per step, and memory.
//
//   node bench/prediction/run.mjs --data FILE [--backend cpu] [--only NAME] [--steps N] [--out FILE]
//
// Random models are trained on the beginning of FILE, each in a process of its own: time is the median step's, memory what the
// process held at its peak (Linux) beyond what it held before, with Node, the packages and the backend in place. What is beyond
// the prediction then is what the text, the tokenizer, V8 and the kernels' scratch memory take. On an idle machine; needs the
// built packages (pnpm build).
import { execFile } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { createCpuBackend } from "../../packages/backend-cpu/dist/index.js";
import { createReferenceBackend } from "../../packages/tensor/dist/index.js";
import { checkRecipe, train } from "../../packages/train/dist/index.js";
import { processor } from "../machine.mjs";
import { llamaJson, writeRandomModel } from "../random-model.mjs";

const small = llamaJson({ d: 256, blocks: 8, heads: 8, kvHeads: 4, ffn: 688 });
const middle = llamaJson({ d: 512, blocks: 12, heads: 8, kvHeads: 4, ffn: 1376 });
const large = llamaJson({ d: 1024, blocks: 20, heads: 16, kvHeads: 8, ffn: 2752 });
const trained = ["model.layers.1", "model.layers.3", "model.layers.5"];
/** Geometry, steps, and what the recipe says beyond the model and the data. */
const runs = {
  "small, all": { json: small, steps: 30, recipe: { batch: { sequences: 4 }, sequence_length: 256 } },
  "small, 3 of 8 blocks, 2 micro-batches": {
    json: small,
    steps: 30,
    recipe: { batch: { sequences: 16, micro: 8 }, sequence_length: 128, trainable: trained },
  },
  "small, LoRA": {
    json: small,
    steps: 30,
    recipe: { batch: { sequences: 4 }, sequence_length: 256, adapter: { name: "lora", rank: 8 } },
  },
  "small, AdaLoRA": {
    json: small,
    steps: 30,
    recipe: { batch: { sequences: 4 }, sequence_length: 256, adapter: { name: "adalora", rank: 12, target_rank: 8 } },
  },
  "middle, 3 of 12 blocks, the others in nf4": {
    json: middle,
    steps: 12,
    recipe: { batch: { sequences: 2 }, sequence_length: 512, trainable: trained, frozen: "nf4" },
  },
  "middle, all": { json: middle, steps: 12, recipe: { batch: { sequences: 2 }, sequence_length: 512 } },
  "middle, bf16": {
    json: middle,
    steps: 12,
    recipe: { batch: { sequences: 2 }, sequence_length: 512, precision: "bf16" },
  },
  "large, all": { json: large, steps: 4, recipe: { batch: { sequences: 2 }, sequence_length: 512 } },
};

const { values } = parseArgs({
  options: {
    data: { type: "string" },
    backend: { type: "string", default: "cpu" },
    only: { type: "string", default: "" },
    steps: { type: "string" },
    out: { type: "string" },
    run: { type: "string" }, // the process of its own
  },
});
if (!values.data) throw new Error("expected --data FILE");
if (values.run) console.log(JSON.stringify(await one(runs[values.run])));
else await all();

async function all() {
  const rows = [];
  for (const name of Object.keys(runs).filter((key) => key.includes(values.only))) {
    const { execPath, argv } = process;
    const { stdout } = await promisify(execFile)(execPath, ["--expose-gc", ...argv.slice(1), "--run", name]);
    rows.push({ name, ...JSON.parse(stdout) });
    const { time, memory } = rows.at(-1);
    const percent = (ratio) => `${(100 * (ratio - 1)).toFixed(1)} %`;
    console.error(
      `${name}: step ${time.predicted.toFixed(4)} s predicted, ${time.measured.toFixed(4)} s measured (${percent(time.measured / time.predicted)}); ` +
        `memory ${(memory.predicted / 1e6).toFixed(1)} MB predicted, ${(memory.allocated / 1e6).toFixed(1)} allocated, ` +
        `process ${(memory.process / 1e6).toFixed(1)} (${percent(memory.process / memory.predicted)})`,
    );
  }
  const document = {
    date: new Date().toISOString().slice(0, 10),
    machine: `${processor()}, ${cpus().length} cores, Node ${process.version}`,
    rows,
  };
  const text = `${JSON.stringify(document, null, 2)}\n`;
  process.stdout.write(text);
  if (values.out) await writeFile(values.out, text);
}

async function one({ json, steps, recipe }) {
  const work = await mkdtemp(join(tmpdir(), "slayer-prediction-"));
  const backend = values.backend === "cpu" ? await createCpuBackend() : createReferenceBackend();
  try {
    const text = (await readFile(values.data, "utf8")).slice(0, 1 << 20);
    await mkdir(join(work, "model"));
    await writeRandomModel(join(work, "model"), json, text);
    await writeFile(join(work, "text.txt"), text);
    globalThis.gc();
    const before = process.memoryUsage.rss();
    await writeFile("/proc/self/clear_refs", "5").catch(() => undefined); // the peak counts from here
    const result = await train(
      checkRecipe(
        {
          model: join(work, "model"),
          data: [{ path: join(work, "text.txt") }],
          steps: Number(values.steps ?? steps),
          out: join(work, "run"),
          ...(recipe.adapter ? {} : { trainable: "all" }),
          ...recipe,
        },
        "recipe",
      ),
      backend,
      { measure: true },
    );
    const peak = await readFile("/proc/self/status", "utf8").then((s) => 1024 * Number(/VmHWM:\s+(\d+)/.exec(s)[1]));
    return {
      time: { predicted: result.predicted.time.secondsPerStep, measured: result.measured.secondsPerStep },
      memory: {
        predicted: result.predicted.memory.total,
        allocated: result.measured.memory,
        process: peak - before,
      },
    };
  } finally {
    await backend.close();
    await rm(work, { recursive: true, force: true });
  }
}
