// What `slayer importance` and `slayer perplexity` reach end to end, as a share of the rate of matrix products alone.
//
//   node bench/verbs/run.mjs --data FILE [--tokens 20480] [--rounds 3] [--verbs perplexity,angular,…] [--batch N] [--out FILE]
//
// Writes a random model (d 512, 12 blocks, vocabulary 4096) with a tokenizer trained on FILE, and runs the command on the first
// tokens of FILE, windows of 512. A verb's rate is the FLOPs of the matrix products that its result needs, over the time of its
// process from start to exit: loading the model, tokenising and drawing intervals included. The rate beside it is that of a
// block's products on 1024 × 512 states, run before and after the verb; shares are medians of the rounds. On a machine that others
// use, prefer the share of processor time, which does not see threads that wait: where a share p of the work is serial on two
// threads, it is 1 / (1 + p) when that of the clock is 1 / (1 + 2p). Needs bash and the built packages (pnpm build).
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { createCpuBackend } from "../../packages/backend-cpu/dist/index.js";
import { parseConfig } from "../../packages/checkpoint/dist/index.js";
import { Tokenizer } from "../../packages/data/dist/index.js";
import { forward, forwardBlock, forwardHead } from "../../packages/model/dist/index.js";
import {
  differentiate,
  Graph,
  lmHeadLoss,
  makePlan,
  matmul,
  planCost,
  Program,
  Store,
  sum,
} from "../../packages/tensor/dist/index.js";
import { llamaJson, writeRandomModel } from "../random-model.mjs";

const { values } = parseArgs({
  options: {
    data: { type: "string" },
    tokens: { type: "string", default: "20480" },
    rounds: { type: "string", default: "3" },
    verbs: { type: "string", default: "perplexity,angular,removal,insertion,gate" },
    batch: { type: "string" },
    out: { type: "string" },
  },
});
if (!values.data) throw new Error("expected --data FILE");
const LENGTH = 512;
const raw = llamaJson({ d: 512, blocks: 12, heads: 8, kvHeads: 4, ffn: 1376 });
const config = parseConfig(raw, "config.json");
const bin = fileURLToPath(new URL("../../packages/cli/dist/bin.js", import.meta.url));
const median = (list) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];

const work = await mkdtemp(join(tmpdir(), "slayer-verbs-"));
try {
  await writeRandomModel(work, raw, await readFile(values.data, "utf8"));
  const flops = neededFlops();
  const rows = [];
  const text = await readFile(values.data, "utf8");
  for (const verb of values.verbs.split(",")) {
    const { scale = 1, argv } = commandOf(verb);
    const file = join(work, `${verb}.txt`);
    const windows = await writeText(file, text, Number(values.tokens) * scale);
    const rounds = [];
    let before = await productRates();
    for (let round = 0; round < Number(values.rounds); round++) {
      const seconds = await timed([...argv, "--data", file]);
      const after = await productRates();
      const share = (clock) => (2 * flops[verb] * windows) / seconds[clock] / (before[clock] + after[clock]);
      rounds.push({
        seconds,
        products: [before, after],
        share: { wall: share("wall"), processor: share("processor") },
      });
      before = after;
      console.error(`${verb}: ${JSON.stringify(rounds.at(-1))}`);
    }
    const medianOf = (clock) => median(rounds.map(({ share }) => share[clock]));
    rows.push({ verb, windows, share: { wall: medianOf("wall"), processor: medianOf("processor") }, rounds });
  }
  const machine = `${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`;
  const document = {
    date: new Date().toISOString().slice(0, 10),
    machine,
    rows,
  };
  const json = `${JSON.stringify(document, null, 2)}\n`;
  process.stdout.write(json);
  if (values.out) await writeFile(values.out, json);
} finally {
  await rm(work, { recursive: true, force: true });
}

/** The command, and the share of the tokens that it gets: sweeps run the model many times. */
function commandOf(verb) {
  const batch = values.batch ? ["--batch", values.batch] : [];
  const common = ["--sequence-length", String(LENGTH), "--backend", "cpu", "--quiet", "--json", ...batch];
  if (verb === "perplexity") return { argv: ["perplexity", work, ...common] };
  const argv = ["importance", work, "--metric", verb, "--sequences", "100000", ...common];
  return { argv, scale: verb === "removal" || verb === "insertion" ? 0.1 : 1 };
}

/** FLOPs of matrix products per window: of the results, whatever else was computed on the way. */
function neededFlops() {
  const shape = { batch: 1, length: LENGTH };
  const cost = (record) => {
    const graph = new Graph();
    return planCost(makePlan(graph, record(graph))).modelFlops;
  };
  const loss = (graph, { final, head }) => lmHeadLoss(final, head, graph.input("targets", [1, LENGTH], "i32"));
  const x = (graph) => graph.input("x", [1, LENGTH, config.hiddenSize], "f32");
  const L = config.blocks;
  const block = cost((graph) => ({ y: forwardBlock(graph, config, 0, x(graph), shape) }));
  const head = cost((graph) => ({ nll: loss(graph, forwardHead(graph, config, x(graph))) }));
  const later = (L * (L - 1)) / 2;
  return {
    perplexity: L * block + head,
    angular: L * block,
    removal: (L + later) * block + (L + 1) * head,
    insertion: (L + later + L - 1) * block + L * head,
    gate: cost((graph) => {
      const model = forward(graph, config, shape);
      const nll = loss(graph, model);
      const gradients = differentiate(sum(nll), model.residual.slice(1));
      return { nll, ...Object.fromEntries(gradients.map((g, i) => [`g${i}`, g])) };
    }),
  };
}

/** FLOP per second, by the clock and by processor time, of a block's seven products on 1024 rows. */
async function productRates() {
  const backend = await createCpuBackend();
  const store = new Store(backend);
  const graph = new Graph();
  const { hiddenSize: D, intermediateSize: F, kvHeads, headDim } = config;
  const K = kvHeads * headDim;
  const shapes = [[D, D], [K, D], [K, D], [D, D], [F, D], [F, D], [D, F]]; // prettier-ignore
  const outputs = {};
  for (const [i, [n, k]] of shapes.entries()) {
    for (const [name, rows] of [
      [`a${i}`, 1024],
      [`b${i}`, n],
    ]) {
      store.add({ name, shape: [rows, k], dtype: "f32" });
      await store.write(
        name,
        Float32Array.from({ length: rows * k }, (_, j) => Math.sin(j)),
      );
    }
    outputs[`c${i}`] = matmul(graph.state(`a${i}`, [1024, k], "f32"), graph.state(`b${i}`, [n, k], "f32"), {
      transposeB: true,
    });
  }
  const program = await Program.compile(graph, outputs, store);
  await program.run();
  const [start, used] = [performance.now(), process.cpuUsage()];
  for (let i = 0; i < 100; i++) await program.run();
  const { user, system } = process.cpuUsage(used);
  const done = 100 * planCost(program.plan).modelFlops;
  const rates = { wall: (1000 * done) / (performance.now() - start), processor: (1e6 * done) / (user + system) };
  await backend.close();
  return rates;
}

/** As many characters as hold `tokens` tokens in whole windows; how many windows. */
async function writeText(file, text, tokens) {
  const tokenizer = await Tokenizer.load(work);
  const ids = tokenizer.encode(text.slice(0, tokens * 8));
  const windows = Math.floor(Math.min(tokens, ids.length) / LENGTH);
  await writeFile(file, tokenizer.decode(ids.subarray(0, windows * LENGTH), { skipSpecialTokens: true }));
  return windows;
}

/** Wall and processor seconds of the command; the shell knows the latter. */
async function timed(argv) {
  const command = ["-c", "TIMEFORMAT='%U %S'; time \"$@\"", "bash", process.execPath, bin, ...argv];
  const start = performance.now();
  const child = spawn("bash", command, { stdio: ["ignore", "ignore", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (chunk) => (stderr += String(chunk)));
  const code = await new Promise((resolve) => child.once("close", resolve));
  if (code !== 0) throw new Error(`slayer ${argv.join(" ")} ended with ${code}: ${stderr}`);
  const [user, system] = stderr.trim().split("\n").at(-1).split(" ").map(Number);
  return { wall: (performance.now() - start) / 1000, processor: user + system };
}
