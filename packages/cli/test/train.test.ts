import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Interrupted } from "@slayer/cli";
import { readDelta } from "@slayer/surgery";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";
import { tinyTexts } from "../../../test/support/tiny-texts.js";
import { scratch, slayer } from "./support/slayer.js";

const home = process.cwd();
afterEach(() => process.chdir(home));

let dir: string;
beforeEach(async () => {
  dir = scratch();
  process.chdir(dir);
  await writeTinyCheckpoint("model");
  writeFileSync(
    "text.jsonl",
    tinyTexts(40, 1)
      .map((text) => `${JSON.stringify({ text })}\n`)
      .join(""),
  );
  writeFileSync("t.jinja", "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}");
  writeFileSync(
    "recipe.yaml",
    `model: model
trainable: [model.layers.1, norm]
data: [{path: text.jsonl}]
sequence_length: 16
batch: {sequences: 4}
steps: 6
optimizer: {lr: 0.01}
checkpoint: {every: 2}
eval: {every: 3, perplexity: [text.jsonl]}
out: runs/a
`,
  );
});

const steps = (run: string) =>
  readFileSync(join(run, "metrics.jsonl"), "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { step: number; loss?: number });

describe("slayer train", () => {
  it("its help's examples run", async () => {
    const { stdout } = await slayer(["train", "--help"]);
    const examples = Array.from(stdout.matchAll(/^ {2}\$ slayer (.+)$/gm), (m) => m[1]!.split(" "));
    expect(examples).toHaveLength(3);
    for (const example of examples) {
      const { code, stderr } = await slayer(example);
      expect(code, stderr).toBe(0);
    }
  });

  it("a post-trained expansion, packed, is its new blocks; unpacked, the whole model byte for byte", async () => {
    expect((await slayer(["expand", "model", "--strategy", "llama-pro", "--groups", "2", "--out", "pro"])).code).toBe(
      0,
    );
    const recipe = readFileSync("recipe.yaml", "utf8").replace("model: model", "model: pro");
    writeFileSync("pro.yaml", recipe.replace("trainable: [model.layers.1, norm]", "trainable: provenance"));
    const trained = await slayer(["train", "pro.yaml", "--json"]);
    expect(trained.code, trained.stderr).toBe(0);
    const { model } = JSON.parse(trained.stdout) as { model: string };

    const packed = await slayer(["pack", "model", model, "--out", "delta", "--json"]);
    expect(packed.code, packed.stderr).toBe(0);
    const delta = await readDelta("delta");
    const stored = delta.files.flatMap(({ tensors }) => tensors).filter(({ base }) => base === undefined);
    expect(new Set(stored.map(({ name }) => /layers\.(\d+)\./.exec(name)?.[1]))).toEqual(new Set(["2", "5"]));
    expect(stored).toHaveLength(18); // AdamW moved every tensor of both

    const unpacked = await slayer(["unpack", "model", "delta", "--out", "again", "--json"]);
    expect(unpacked.code, unpacked.stderr).toBe(0);
    expect(readdirSync("again")).toEqual(readdirSync(model));
    for (const name of readdirSync(model)) {
      expect(Buffer.compare(readFileSync(join("again", name)), readFileSync(join(model, name))), name).toBe(0);
    }
  });

  it("--json prints one document, the run's result; the model it names can be read", async () => {
    const { code, stdout, stderr } = await slayer(["train", "recipe.yaml", "--json"]);
    expect(code, stderr).toBe(0);
    const result = JSON.parse(stdout) as { model: string; steps: number; tokens: number };
    expect(result).toMatchObject({ model: join("runs", "a", "model"), steps: 6, tokens: 6 * 4 * 16 });
    const inspected = await slayer(["inspect", result.model, "--json"]);
    expect(inspected.code, inspected.stderr).toBe(0);
    expect(stderr).toContain("of them trained");
    expect(stderr).toContain("decay        0.1 on 7 matrices; none on 3 norms and biases");
    expect(stderr).toMatch(/whole run {4}6 steps, .* until \d{4}-\d\d-\d\d/);
    expect(readFileSync("runs/a/report.html", "utf8")).toContain("Training loss");
  });

  it("--dry-run trains nothing and predicts memory, FLOPs and time", async () => {
    const { code, stdout } = await slayer(["train", "recipe.yaml", "--dry-run", "--json"]);
    expect(code).toBe(0);
    const {
      memory,
      modelFlops,
      trainable,
      seconds_per_step: seconds,
    } = JSON.parse(stdout) as {
      memory: Record<string, number>;
      modelFlops: number;
      trainable: number;
      seconds_per_step: number;
    };
    const { total, ...parts } = memory;
    expect(Object.values(parts).reduce((a, b) => a + b, 0)).toBe(total);
    expect(memory.moments).toBe(2 * memory.gradients!);
    expect(memory.gradients).toBeGreaterThanOrEqual(4 * trainable);
    expect(modelFlops).toBeGreaterThan(0);
    expect(seconds).toBeGreaterThan(0);
    expect(() => readFileSync("runs/a/recipe.json")).toThrow("ENOENT");
  });

  it("sequences longer than the model is made for are warned of", async () => {
    const config = JSON.parse(readFileSync("model/config.json", "utf8")) as object;
    writeFileSync("model/config.json", JSON.stringify({ ...config, max_position_embeddings: 7 }));
    const { code, stderr } = await slayer(["train", "recipe.yaml", "--dry-run"]);
    expect(code).toBe(0);
    expect(stderr).toMatch(/^warning: sequence_length \d+ is beyond the 7 positions that the model is made for/m);
  });

  it("--dry-run needs no weights: the model's config.json, or geometry in the recipe", async () => {
    rmSync("model/model.safetensors");
    const shown = await slayer(["train", "recipe.yaml", "--dry-run"]);
    expect(shown.code, shown.stderr).toBe(0);
    expect(shown.stdout).toContain("planned from model/config.json");
    const config = readFileSync("model/config.json", "utf8");
    const given = ["--set", "model=elsewhere", "--set", "trainable=provenance"];
    const geometry = ["--set", `geometry={config: ${config}, new_blocks: [1, 2]}`];
    const { code, stdout } = await slayer(["train", "recipe.yaml", "--dry-run", "--json", ...given, ...geometry]);
    expect(code).toBe(0);
    const blocks = JSON.parse(stdout) as { trainable: number; parameters: number; geometry: string };
    // Four blocks of 16 wide (attention 16·16·2 + 16·8·2, mlp 3·16·32, norms 2·16), embedding 648·16, final norm 16.
    expect(blocks).toMatchObject({ trainable: 2 * 2336, parameters: 4 * 2336 + 648 * 16 + 16 });
    const none = await slayer(["train", "recipe.yaml", "--dry-run", "--set", "model=elsewhere"]);
    expect(none.code).toBe(2);
    expect(none.stderr).toContain("a dry run without it needs the recipe's 'geometry'");
  });

  it("interrupted: exit 130, and --resume continues to the end of the same curve", async () => {
    await slayer(["train", "recipe.yaml", "--set", "out=runs/whole"]);
    const controller = new AbortController();
    controller.abort(new Interrupted("SIGINT"));
    // The signal is up from the start: the first step is finished, saved, and the command ends.
    const first = await slayer(["train", "recipe.yaml"], { signal: controller.signal });
    expect(first.code).toBe(130);
    const resumed = await slayer(["train", "recipe.yaml", "--resume"]);
    expect(resumed.code, resumed.stderr).toBe(0);
    const losses = (run: string) => steps(run).map(({ step, loss }) => ({ step, loss }));
    expect(losses("runs/a")).toEqual(losses("runs/whole"));
  });

  it("conversations: --show prints what is scored, the run trains on it, --json tells the epochs", async () => {
    const talk = (i: number) => ({ instruction: `add ${i} and 1`, output: `it is ${i + 1}` });
    writeFileSync("chat.jsonl", Array.from({ length: 30 }, (_, i) => JSON.stringify(talk(i))).join("\n"));
    const sft = ["--set", "stage=sft", "--set", "chat_template=t.jinja", "--set", "data=[{path: chat.jsonl}]"].concat([
      ...["--set", "sequence_length=64", "--set", "out=runs/sft"],
    ]);
    const shown = await slayer(["train", "recipe.yaml", "--show", "2", ...sft]);
    expect(shown.code, shown.stderr).toBe(0);
    const [title, context, scored] = shown.stdout.split("\n");
    expect(title).toMatch(/^chat\.jsonl 1 {2}\(chat\.jsonl:1\): \d+ tokens, \d+ scored$/);
    expect(context!.replaceAll("¦", "")).toBe("  context  user: add 0 and 1</s>");
    expect(scored!.replaceAll("¦", "")).toBe("  scored   assistant: it is 1</s>");
    const { code, stdout, stderr } = await slayer(["train", "recipe.yaml", "--json", ...sft]);
    expect(code, stderr).toBe(0);
    expect(stderr).not.toContain("longer than sequence_length");
    const result = JSON.parse(stdout) as { data: { path: string; documents: number; epochs: number }[] };
    expect(result.data).toMatchObject([{ path: "chat.jsonl", documents: 30 }]);
    expect(result.data[0]!.epochs).toBeGreaterThan(0);
    expect(steps("runs/sft").filter(({ loss }) => loss !== undefined)).toHaveLength(6);
    const cut = await slayer(["train", "recipe.yaml", ...sft, "--overwrite", "--set", "sequence_length=20"]);
    expect(cut.stderr).toMatch(
      /\d+ of 30 documents are longer than sequence_length \(20\): \d+ lose their end, \d+ are left out/,
    );
  });

  it.each([
    ["an unknown key", ["--set", "learning_rate=1"], 'Unrecognized key: "learning_rate"'],
    ["SFT without a template", ["--set", "stage=sft"], "the model has no chat template"],
    [
      "no conversations",
      ["--set", "stage=sft", "--set", "chat_template=t.jinja"],
      "40 of 40 records cannot be read, more than a share of 0.01; the first: no conversation",
    ],
    ["to resume and to begin anew", ["--resume", "--overwrite"], "'--overwrite' cannot be used with option '--resume'"],
    ["a model that is not there", ["--set", "model=nowhere"], "nowhere"],
    ["data that is not there", ["--set", "data=[{path: nothing.jsonl}]"], "nothing.jsonl"],
    [
      "a pattern that matches nothing",
      ["--set", "trainable=[model.layers.9]"],
      "no parameter matches 'model.layers.9'",
    ],
  ])("%s: exit 2 and one message", async (_, options, message) => {
    const { code, stderr, stdout } = await slayer(["train", "recipe.yaml", ...options]);
    expect(code).toBe(2);
    expect(stderr).toContain(message);
    expect(stderr).not.toContain("    at ");
    expect(stdout).toBe("");
  });

  it("what is wrong with the model or the plan is said before data is tokenized; --seed goes on top of the recipe", async () => {
    const wrong = await slayer(["train", "recipe.yaml", "--set", "trainable=[model.layers.9]"]);
    expect(wrong.code).toBe(2);
    expect(existsSync("runs/a")).toBe(false);
    const plan = await slayer(["train", "recipe.yaml", "--dry-run", "--json", "--seed", "7"]);
    expect(JSON.parse(plan.stdout)).toMatchObject({ recipe: { seed: 7 } });
  });

  it("an existing run needs --resume or --overwrite", async () => {
    mkdirSync("runs/a", { recursive: true });
    await slayer(["train", "recipe.yaml"]);
    const again = await slayer(["train", "recipe.yaml"]);
    expect(again.code).toBe(2);
    expect(again.stderr).toContain("--resume continues it, --overwrite replaces it");
    expect((await slayer(["train", "recipe.yaml", "--overwrite"])).code).toBe(0);
  });
});
