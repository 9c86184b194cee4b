import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Interrupted, main, type TextStream } from "@slayer/cli";
import { expect, test } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { Capture, scratch, slayer } from "./support/slayer.js";

/** Every mistake: exit code 2, nothing on stdout, one message on stderr that matches, no stack. */
async function mistake(argv: string[], ...message: RegExp[]): Promise<void> {
  const { code, stdout, stderr } = await slayer(argv);
  expect(code, stderr).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).not.toMatch(/^\s+at /m);
  for (const part of message) expect(stderr).toMatch(part);
}

const missing = "no-such-model";

test("a model that is not there: exit 2, naming the file", async () => {
  for (const verb of ["inspect", "expand", "plan", "perplexity"]) {
    const rest = {
      expand: ["--strategy", "slayer", "--out", "x"],
      plan: ["--strategy", "slayer"],
      perplexity: ["--data", "x.txt"],
    };
    await mistake([verb, missing, ...(rest[verb as "plan"] ?? [])], /no-such-model/, /^slayer: error: /m);
  }
});

test("usage mistakes: exit 2 and a way to the help", async () => {
  await mistake([], /Usage: slayer/);
  await mistake(["inpsect"], /unknown command 'inpsect'/, /Did you mean inspect/);
  await mistake(["inspect"], /missing required argument 'model'/, /slayer inspect --help/);
  await mistake(["inspect", "a", "b"], /too many arguments/);
  await mistake(["inspect", "a", "--nonsense"], /unknown option '--nonsense'/);
  await mistake(["plan", "a", "--strategy", "best"], /Allowed choices are slayer, llama-pro/);
  await mistake(["plan", "a", "--groups", "-1"], /--groups.*invalid.*whole number of at least 1/);
  await mistake(["plan", "a", "--groups", "1e400"], /whole number/);
  await mistake(["generate", "a", "--prompt", "x", "--top-p", "1.5"], /above 0 and up to 1/);
  await mistake(["generate", "a", "--prompt", "x", "--temperature", "warm"], /number of at least 0/);
  await mistake(["perplexity", "a"], /required option '--data <file...>'/);
});

test("what is not built says so and exits 2", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"));
  const model = join(dir, "model");
  writeFileSync(join(dir, "t.txt"), "some text");
  const data = ["--data", join(dir, "t.txt")];
  await mistake(["eval", model, "--tasks", "arc"], /eval is not built yet/);
  await mistake(
    ["perplexity", model, ...data, "--backend", "metal"],
    /Allowed choices are auto, cuda, webgpu, cpu, reference/,
  );
  await mistake(["perplexity", model, ...data, "--device", "3"], /one device, 0; got --device 3/);
});

test("surgery mistakes: plans that do not fit, that contradict themselves, or that are given twice", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"));
  const model = join(dir, "model");
  const plan = join(dir, "plan.json");
  await mistake(["plan", model, "--strategy", "slayer", "--prune", "4"], /prune must leave a block/);
  await mistake(["plan", model, "--strategy", "llama-pro", "--prune", "2"], /has no option "prune"/);
  await mistake(["plan", model], /expected --strategy/);
  await mistake(["plan", model, "--strategy", "solar", "--trim", "2"], /trim 2 leaves no block of 4 to come twice/);
  await mistake(["plan", model, "--strategy", "prune"], /needs the blocks to remove/);
  await mistake(["plan", model, "--strategy", "prune", "--blocks", "3-5"], /blocks 0 to 3, got 4/);
  await mistake(["plan", model, "--strategy", "custom"], /expected --recipe FILE.yaml/);
  const recipe = join(dir, "recipe.yaml");
  writeFileSync(recipe, "insert: [{after: 9, sources: [0]}]");
  await mistake(["plan", model, "--strategy", "custom", "--recipe", recipe], /blocks 0 to 3, got 9/);
  await mistake(["plan", model, "--strategy", "slayer", "--recipe", recipe], /takes no description/);
  const scores = join(dir, "scores.json");
  writeFileSync(scores, '{"version": 1}');
  await mistake(["plan", model, "--strategy", "slayer", "--importance", scores], /scores\.json: metric/);
  writeFileSync(plan, "{");
  await mistake(["expand", model, "--plan", plan, "--out", join(dir, "o")], /plan\.json: not JSON/);
  await mistake(["expand", model, "--plan", plan, "--strategy", "slayer", "--out", join(dir, "o")], /got both/);
  await mistake(["expand", model, "--out", join(dir, "o")], /expected --plan plan.json, or --strategy/);
  await mistake(["expand", model, "--plan", dir, "--out", join(dir, "o")], /expected a file/);
  expect(readdirSync(dir)).toEqual(["model", "plan.json", "recipe.yaml", "scores.json"]);
});

test("an existing output is refused unless --overwrite, and stays as it was", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"));
  const model = join(dir, "model");
  const out = join(dir, "plan.json");
  writeFileSync(out, "precious");
  const argv = ["plan", model, "--strategy", "slayer", "--prune", "1", "--out", out];
  await mistake(argv, /plan\.json exists already; give --overwrite to replace it/);
  expect(readFileSync(out, "utf8")).toBe("precious");
  expect((await slayer([...argv, "--overwrite"])).code).toBe(0);
  expect(JSON.parse(readFileSync(out, "utf8")).version).toBe(1);
  const expand = ["expand", model, "--plan", out, "--out", join(dir, "new")];
  expect((await slayer(expand)).code).toBe(0);
  await mistake(expand, /new exists already; give --overwrite/);
  expect((await slayer([...expand, "--overwrite"])).code).toBe(0);
  await mistake(["expand", model, "--plan", out, "--out", model, "--overwrite"], /model is or holds the input/);
});

test("a model without a tokenizer, and data of an unknown kind", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "bare"), { tokenizer: null });
  await writeTinyCheckpoint(join(dir, "small"), { vocabSize: 20 });
  writeFileSync(join(dir, "t.txt"), "some text");
  writeFileSync(join(dir, "t.bin"), "some text");
  await mistake(["perplexity", join(dir, "bare"), "--data", join(dir, "t.txt")], /tokenizer\.json: no such file/);
  await mistake(["perplexity", join(dir, "small"), "--data", join(dir, "t.bin")], /unknown extension/);
  await mistake(["perplexity", join(dir, "small"), "--data", join(dir, "t.txt")], /token ids go from 0 to 19/);
  await mistake(["generate", join(dir, "small"), "--prompt", "text"], /ids 0 to 19/);
  await mistake(["perplexity", join(dir, "small"), "--data", join(dir, "none.txt")], /none\.txt/);
});

test("a truncated checkpoint: exit 2, naming the file", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"));
  const file = join(dir, "model/model.safetensors");
  writeFileSync(file, readFileSync(file).subarray(0, -4));
  await mistake(["inspect", join(dir, "model")], /model\.safetensors/);
});

test("help and version: exit 0, on stdout", async () => {
  const { version } = JSON.parse(readFileSync(join(import.meta.dirname, "../package.json"), "utf8"));
  expect(await slayer(["--version"])).toEqual({ code: 0, stdout: `${version}\n`, stderr: "" });
  for (const argv of [["--help"], ["help"], ["help", "plan"], ["plan", "--help"]]) {
    const { code, stdout, stderr } = await slayer(argv);
    expect(code).toBe(0);
    expect(stderr).toBe("");
    expect(stdout).toContain("Usage: slayer");
  }
});

test("an interrupted verb ends with 130 or 143 and leaves nothing that looks finished", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"));
  for (const [name, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    const controller = new AbortController();
    controller.abort(new Interrupted(name));
    const argv = ["expand", join(dir, "model"), "--strategy", "slayer", "--prune", "1", "--out", join(dir, "new")];
    const result = await slayer(argv, { signal: controller.signal });
    expect(result).toMatchObject({ code, stdout: "", stderr: "slayer: interrupted\n" });
  }
  expect(readdirSync(dir)).toEqual(["model"]);
});

test("generation stops in the middle when it is interrupted", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"));
  const controller = new AbortController();
  const stdout = new Capture();
  stdout._write = (chunk: string, _encoding: string, done: () => void): void => {
    stdout.text += chunk;
    controller.abort(new Interrupted("SIGINT"));
    done();
  };
  const argv = ["generate", join(dir, "model"), "--prompt", "Once", "--max-tokens", "100000"];
  const io = { stdout: stdout as TextStream, stderr: new Capture() as TextStream, signal: controller.signal, env: {} };
  expect(await main(argv, io)).toBe(130);
});

test("a fault of the program exits 1; its stack is shown only when asked for", async () => {
  const broken = (env: Record<string, string>) => {
    const stdout = new Capture() as TextStream;
    stdout.write = () => {
      throw new TypeError("a broken pipe to nowhere");
    };
    const stderr = new Capture();
    const io = { stdout, stderr: stderr as TextStream, signal: new AbortController().signal, env };
    return main(["doctor", "--json"], io).then((code) => ({ code, stderr: stderr.text }));
  };
  const plain = await broken({});
  expect(plain.code).toBe(1);
  expect(plain.stderr).toContain("internal error: a broken pipe to nowhere");
  expect(plain.stderr).not.toMatch(/^\s+at /m);
  const debug = await broken({ SLAYER_DEBUG: "1" });
  expect(debug.code).toBe(1);
  expect(debug.stderr).toMatch(/^\s+at /m);
});

test("importance mistakes: options that do nothing with the metric, and items that are none", async () => {
  const dir = scratch();
  await writeTinyCheckpoint(join(dir, "model"));
  const importance = (data: string, ...more: string[]) => [
    "importance",
    join(dir, "model"),
    "--data",
    join(dir, data),
    ...more,
  ];
  writeFileSync(join(dir, "t.txt"), "some text, and some more");
  writeFileSync(join(dir, "bad.jsonl"), '{"context": "c", "choices": ["a", "b"], "answer": "A"}');
  writeFileSync(join(dir, "long.jsonl"), JSON.stringify({ context: "a ".repeat(99), choices: ["a", "b"], answer: 0 }));
  writeFileSync(join(dir, "none.jsonl"), "\n");
  await mistake(importance("t.txt", "--init", "copy"), /--metric insertion, not angular/);
  await mistake(importance("t.txt", "--metric", "removal", "--init", "copy"), /--metric insertion, not removal/);
  await mistake(importance("t.txt", "--metric", "gate", "--stream"), /--stream goes with --metric angular, removal/);
  await mistake(importance("t.txt", "--metric", "gate", "--score", "loss"), /--score goes with --metric removal or/);
  for (const option of [
    ["--token", "mean"],
    ["--unit", "radians"],
    ["--final", "normed"],
  ]) {
    await mistake(
      importance("t.txt", "--metric", "gate", ...option),
      /--(token|unit|final) goes with --metric angular/,
    );
  }
  await mistake(
    importance("t.txt", "--plot", join(dir, "a.png")),
    /a\.png: expected a name that ends in \.html .* \.svg/,
  );
  await mistake(importance("t.txt", "--metric", "removal", "--least", "2"), /--least goes with --until-decided/);
  const removal = ["--metric", "removal"];
  await mistake(
    importance("t.txt", ...removal, "--until-decided", "1"),
    /from 0\.5 and up to 0\.9999|Expected a number/,
  );
  await mistake(importance("t.txt", ...removal, "--until-decided", "--least", "4"), /least must be .* 1 to 3, got 4/);
  await mistake(importance("t.txt", ...removal, "--sequence-length", "1"), /at least 2: a loss needs a next token/);
  const items = [...removal, "--score", "accuracy"];
  await mistake(importance("t.txt", ...items), /t\.txt:1: not JSON/);
  await mistake(importance("bad.jsonl", ...items), /bad\.jsonl:1: answer: want the index/);
  await mistake(importance("long.jsonl", ...items), /item 1 has \d+ tokens, expected at most 64/);
  await mistake(importance("none.jsonl", ...items), /expected items, found none/);
  await mistake(importance("t.txt", ...removal, "--out", join(dir, "t.txt")), /exists already/);
});
