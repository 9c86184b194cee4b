import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readHeader, readProvenance } from "@slayer/checkpoint";
import { Tokenizer } from "@slayer/data";
import { type AngularScores, parseScores } from "@slayer/importance";
import { expect, test } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { scratch, slayer } from "./support/slayer.js";

const TEXT = "The quick brown fox jumps over the lazy dog, and 3 + 4 = 7. ".repeat(20);

async function workplace(options: Parameters<typeof writeTinyCheckpoint>[1] = {}) {
  const dir = scratch();
  const at = (name: string): string => join(dir, name);
  await writeTinyCheckpoint(at("model"), options);
  writeFileSync(at("text.txt"), TEXT);
  return at;
}

/** Runs a verb with --json and gives its document; fails when stdout holds anything else or stderr an error. */
async function json(...argv: string[]) {
  const { code, stdout, stderr } = await slayer([...argv, "--json", "--quiet"]);
  expect(stderr).toBe("");
  expect(code).toBe(0);
  return JSON.parse(stdout);
}

test("doctor: the reference backend works, the first that works is what auto takes, the others say why not", async () => {
  const found = await json("doctor");
  expect(found.auto).toBe(found.backends.find(({ auto }: { auto?: boolean }) => auto).name);
  expect(found.backends[3].works).toBe(true);
  expect(found.backends.map(({ name }: { name: string }) => name)).toEqual(["cuda", "webgpu", "cpu", "reference"]);
  const nvidia = ["/dev/nvidiactl", "/dev/dxg"].some((path) => existsSync(path));
  expect(found.backends[0].auto ?? false).toBe(nvidia && found.backends[0].works); // elsewhere only where it is named
  expect(found.backends[3].gemm_gflops).toBeGreaterThan(0);
  expect(found.backends[3].copy_gb_per_second).toBeGreaterThan(0);
});

test("inspect: parameters are those counted in the file's header, the tokenizer is seen", async () => {
  const at = await workplace({ blocks: 3, dtype: "BF16" });
  const bytes = readFileSync(at("model/model.safetensors"));
  const dataBytes = bytes.length - 8 - Number(bytes.readBigUInt64LE());
  const found = await json("inspect", at("model"));
  expect(found.parameters.total).toBe(dataBytes / 2);
  expect(found).toMatchObject({ family: "llama", blocks: 3, tied: true, stored_dtypes: ["BF16"], provenance: null });
  expect(found.tokenizer).toEqual({ tokens: 638, bos_id: 1, eos_id: 2, problem: null });
  expect(found.shards).toEqual([{ file: "model.safetensors", bytes: bytes.length, tensors: 3 * 9 + 2 }]);
});

test("inspect reads a checkpoint written by Transformers", async () => {
  const model = join(import.meta.dirname, "../../../test/fixtures/models/mistral-window");
  const found = await json("inspect", model);
  expect(found).toMatchObject({ family: "mistral", tokenizer: null, valid: true });
  const config = JSON.parse(readFileSync(join(model, "config.json"), "utf8"));
  expect(found.blocks).toBe(config.num_hidden_layers);
  expect(found.sliding_window).toBe(config.sliding_window);
});

test("plan: the paper's parameter counts, from the config of Llama-2-7B alone", async () => {
  const at = await workplace();
  const llama2 = { model_type: "llama", vocab_size: 32_000, hidden_size: 4096, intermediate_size: 11_008 };
  writeFileSync(at("config.json"), JSON.stringify({ ...llama2, num_hidden_layers: 32, num_attention_heads: 32 }));
  const slayerPlan = await json("plan", at("config.json"), "--strategy", "slayer");
  expect(slayerPlan.summary.parameters.total).toBe(7_952_715_776);
  expect(slayerPlan.summary.trainable.parameters).toBe(1_821_450_240);
  expect(slayerPlan.summary.trainable.parametersWithVocabulary).toBe(1_952_522_240);
  expect(slayerPlan.plan.blocks).toHaveLength(38);
  const pro = await json("plan", at("config.json"), "--strategy", "llama-pro", "--groups", "8");
  expect(pro.summary.parameters.total).toBe(8_357_482_496);
  const shown = await slayer(["plan", at("config.json"), "--strategy", "slayer", "--out", at("plan.json")]);
  expect(shown.stdout).toContain("7,952,715,776");
  expect(JSON.parse(readFileSync(at("plan.json"), "utf8"))).toEqual(slayerPlan.plan);
});

test("plan, expand, verify: a zeroed expansion is proved to have bit-identical logits", async () => {
  const at = await workplace();
  await json("plan", at("model"), "--strategy", "llama-pro", "--groups", "2", "--out", at("plan.json"));
  const expanded = await json("expand", at("model"), "--plan", at("plan.json"), "--out", at("new"));
  expect(expanded).toMatchObject({ blocks: 6, preserves_function: true });
  expect(expanded.side_files.copied).toEqual(["tokenizer.json", "tokenizer_config.json"]);
  const provenance = await readProvenance(at("new"));
  expect(provenance?.blocks.map(({ kind }) => kind === "inserted")).toEqual([false, false, true, false, false, true]);

  const proof = await json("verify", at("model"), at("new"), "--plan", at("plan.json"));
  expect(proof).toMatchObject({ ok: true, problems: [], logits: { compared: true, identical: true, maxAbsolute: 0 } });
  const ids = (await Tokenizer.load(at("model"))).encode(TEXT);
  const onData = await json("verify", at("model"), at("new"), "--data", at("text.txt"));
  expect(onData.logits.positions).toBe(ids.length);
});

test("plan, expand, verify: solar, prune by importance, custom", async () => {
  const at = await workplace();
  await json(
    "importance",
    at("model"),
    "--data",
    at("text.txt"),
    "--sequence-length",
    "24",
    "--out",
    at("scores.json"),
  );
  writeFileSync(at("recipe.yaml"), "insert: [{after: 1, sources: [1, 2]}]\nremove: [3]\ntrain: [0]\n");
  const made = {
    solar: ["--strategy", "solar"],
    pruned: ["--strategy", "prune", "--prune", "2", "--importance", at("scores.json")],
    custom: ["--strategy", "custom", "--recipe", at("recipe.yaml")],
  };
  const kinds: Record<string, string[]> = {};
  for (const [name, argv] of Object.entries(made)) {
    const { plan } = await json("plan", at("model"), ...argv, "--out", at(`${name}.json`));
    await json("expand", at("model"), "--plan", at(`${name}.json`), "--out", at(name));
    expect(await json("verify", at("model"), at(name), "--plan", at(`${name}.json`))).toMatchObject({ ok: true });
    kinds[name] = plan.blocks.map(({ kind }: { kind: string }) => kind[0]);
    const { runs } = parseScores(readFileSync(at("scores.json"), "utf8")) as AngularScores;
    if (name === "pruned") expect(plan.recipe.blocks).toBe(`${runs[1]!.start}-${runs[1]!.start + 1}`);
  }
  expect(kinds).toEqual({ solar: ["u", "u", "u", "i", "i", "u"], pruned: ["o", "o"], custom: ["u", "o", "i", "o"] });
});

test("plan --importance: the region and the pruned blocks of slayer, with the reasons among the notes", async () => {
  const at = await workplace({ blocks: 8 });
  await json(
    "importance",
    at("model"),
    "--data",
    at("text.txt"),
    "--sequence-length",
    "24",
    "--out",
    at("scores.json"),
  );
  const argv = ["plan", at("model"), "--strategy", "slayer", "--groups", "1", "--importance", at("scores.json")];
  const { plan } = await json(...argv);
  const values = JSON.parse(readFileSync(at("scores.json"), "utf8")).blocks.map(
    ({ value }: { value: number }) => value,
  );
  const pairs = values.slice(1).map((value: number, i: number) => value + values[i]);
  const least = 4 + pairs.slice(4).indexOf(Math.min(...pairs.slice(4)));
  expect(plan.recipe.pruneStart).toBe(least);
  const before = pairs.slice(0, least - 2);
  expect(plan.recipe.start).toBe(before.indexOf(Math.max(...before)));
  const { stdout } = await slayer(argv);
  expect(stdout).toMatch(/note: importance: angular distances at the last token of \d+ sequences/);
  expect(stdout).toMatch(
    /note: importance: blocks \d to \d matter least in the deeper half and go \(sum 0\.\d+, the smallest of 3 places; next/,
  );
});

test("pack and unpack: the whole directory again, byte for byte; another base is refused with exit 2", async () => {
  const at = await workplace();
  await json("expand", at("model"), "--strategy", "slayer", "--prune", "1", "--out", at("new"));
  const packed = await json("pack", at("model"), at("new"), "--out", at("delta"));
  const bytes = [...(await readHeader(at("new/model.safetensors"))).tensors.values()].map(
    ({ begin, end }) => end - begin,
  );
  expect(packed.stored.bytes + packed.from_base.bytes).toBe(bytes.reduce((sum, size) => sum + size));
  expect(packed.stored.bytes).toBeLessThan(packed.from_base.bytes);
  await json("unpack", at("model"), at("delta"), "--out", at("again"));
  const names = readdirSync(at("new"));
  expect(readdirSync(at("again"))).toEqual(names);
  for (const name of names)
    expect(Buffer.compare(readFileSync(at(`again/${name}`)), readFileSync(at(`new/${name}`)))).toBe(0);

  await writeTinyCheckpoint(at("other"), { seed: 7 });
  const refused = await slayer(["unpack", at("other"), at("delta"), "--out", at("wrong")]);
  expect(refused.code).toBe(2);
  expect(refused.stderr).toMatch(/tensor "model\.embed_tokens\.weight".* is this the base/);
  expect(existsSync(at("wrong"))).toBe(false);
});

test("verify: one changed byte is found, named, and exits 2", async () => {
  const at = await workplace();
  await json("expand", at("model"), "--strategy", "slayer", "--prune", "1", "--out", at("new"));
  const good = await slayer(["verify", at("model"), at("new")]);
  expect(good.stdout).toContain("logits not compared: the plan changes the function");
  expect(good.code).toBe(0);
  const file = at("new/model.safetensors");
  const bytes = readFileSync(file);
  bytes[bytes.length - 1]! ^= 1;
  writeFileSync(file, bytes);
  const bad = await slayer(["verify", at("model"), at("new"), "--json"]);
  expect(bad.code).toBe(2);
  const { ok, problems } = JSON.parse(bad.stdout);
  expect(ok).toBe(false);
  expect(problems[0].tensor).toBe("model.norm.weight");
});

test("verify: on real text, an expansion in bf16 has the base's logits bit for bit on every backend that opens here", async () => {
  const at = await workplace({ dtype: "BF16" });
  const prose = readFileSync(join(import.meta.dirname, "../../../docs/algorithm.md"), "utf8").slice(0, 1500);
  writeFileSync(at("prose.txt"), prose);
  await json("expand", at("model"), "--strategy", "llama-pro", "--every", "1", "--out", at("new"));
  const identical: string[] = [];
  for (const backend of ["reference", "cpu", "webgpu", "cuda"]) {
    const argv = [
      "verify",
      at("model"),
      at("new"),
      "--data",
      at("prose.txt"),
      "--backend",
      backend,
      "--json",
      "--quiet",
    ];
    const { code, stdout, stderr } = await slayer(argv);
    if (code === 2 && stdout === "") continue; // it says on stderr why it cannot open
    expect(JSON.parse(stdout), `${backend} ${stderr}`).toMatchObject({ ok: true, logits: { identical: true } });
    expect(JSON.parse(stdout).logits.positions).toBeGreaterThan(500);
    identical.push(backend);
  }
  expect(identical).toContain("reference");
});

test("verify without a tokenizer says that logits were not compared", async () => {
  const at = await workplace({ tokenizer: null });
  await json("expand", at("model"), "--strategy", "llama-pro", "--groups", "1", "--out", at("new"));
  const proof = await json("verify", at("model"), at("new"));
  expect(proof).toMatchObject({ ok: true, logits: { compared: false, why: "the base has no tokenizer.json" } });
});

test("importance: a zeroed inserted block is at distance 0 (to 1e-6 of π), and --out is the document", async () => {
  const at = await workplace();
  await json("expand", at("model"), "--strategy", "llama-pro", "--groups", "2", "--out", at("new"));
  const argv = [
    "importance",
    at("new"),
    "--data",
    at("text.txt"),
    "--sequence-length",
    "24",
    "--out",
    at("scores.json"),
  ];
  const scores = await json(...argv, "--plot", at("scores.html"));
  expect(scores.blocks.map(({ value }: { value: number }) => value < 1e-6)).toEqual([
    false,
    false,
    true,
    false,
    false,
    true,
  ]);
  expect(parseScores(readFileSync(at("scores.json"), "utf8"))).toEqual(scores);
  expect(readFileSync(at("scores.html"), "utf8")).toContain("<svg");
  const ids = (await Tokenizer.load(at("model"))).encode(TEXT);
  expect(scores.samples).toBe(Math.floor(ids.length / 24));
});

test("importance: --sequences draws with --seed, the same ones for the same seed", async () => {
  const at = await workplace();
  const argv = ["importance", at("model"), "--data", at("text.txt"), "--sequence-length", "16", "--sequences", "5"];
  const [a, b, c] = [await json(...argv), await json(...argv), await json(...argv, "--seed", "7")];
  expect(a.samples).toBe(5);
  expect(b).toEqual(a);
  expect(c.distances).not.toEqual(a.distances);
});

test("perplexity: a model with all logits 0 has exactly the vocabulary's size (1e-6)", async () => {
  const at = await workplace({ spread: 0 });
  const ids = (await Tokenizer.load(at("model"))).encode(TEXT);
  const found = await json("perplexity", at("model"), "--data", at("text.txt"), "--sequence-length", "32");
  expect(Math.abs(found.perplexity / 648 - 1)).toBeLessThan(1e-6);
  expect(Math.abs(found.nats_per_token - Math.log(648))).toBeLessThan(1e-6);
  expect(found.tokens).toBe(ids.length - Math.ceil(ids.length / 32));
  expect(found.bits_per_byte).toBeCloseTo((Math.log2(648) * ids.length) / Buffer.byteLength(TEXT), 5);
});

test("perplexity reads JSONL fields and says which records it left out", async () => {
  const at = await workplace({ spread: 0 });
  writeFileSync(at("data.jsonl"), `${JSON.stringify({ content: TEXT })}\n{"other": 1}\n`);
  const argv = ["perplexity", at("model"), "--data", at("data.jsonl"), "--field", "content", "--json", "--quiet"];
  const { code, stdout, stderr } = await slayer(argv);
  expect(code).toBe(0);
  expect(JSON.parse(stdout).bytes).toBe(Buffer.byteLength(TEXT));
  expect(stderr).toContain("1 records left out");
  expect(stderr).toContain("data.jsonl:2");
});

test("generate: greedy on all-zero logits repeats token 0; sampling repeats with its seed and differs with another", async () => {
  const at = await workplace({ spread: 0 });
  const argv = ["generate", at("model"), "--prompt", "Once", "--max-tokens", "5"];
  const greedy = await json(...argv);
  expect(greedy.ids).toEqual([0, 0, 0, 0, 0]);
  expect(greedy.stopped).toBe("max-tokens");
  const draw = async (seed: string) => (await json(...argv, "--temperature", "1", "--seed", seed)).ids;
  const first = await draw("1");
  expect(await draw("1")).toEqual(first);
  expect(await draw("2")).not.toEqual(first);
});

test("generate streams the text that --json holds", async () => {
  const at = await workplace();
  const argv = ["generate", at("model"), "--prompt", "Once", "--max-tokens", "8", "--temperature", "1", "--seed", "3"];
  const { text } = await json(...argv);
  expect((await slayer(argv)).stdout).toBe(`${text}\n`);
});

test("report: files of every kind on one page", async () => {
  const at = await workplace();
  await json(
    "importance",
    at("model"),
    "--data",
    at("text.txt"),
    "--sequence-length",
    "16",
    "--out",
    at("scores.json"),
  );
  await json("expand", at("model"), "--strategy", "slayer", "--prune", "1", "--out", at("new"));
  const { files } = await json("report", at("scores.json"), at("new"), "--out", at("report.html"));
  expect(files).toEqual([at("scores.json"), at("new/provenance.json")]);
  const page = readFileSync(at("report.html"), "utf8");
  expect(page).toContain("<h2>Angular distance: ");
  expect(page).toContain("4 blocks become 4: 2 original, 1 inserted, 1 updated, 2 removed or replaced");
});
