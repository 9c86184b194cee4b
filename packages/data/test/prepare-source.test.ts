import { createHash } from "node:crypto";
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import {
  Batches,
  type ChatTemplateSource,
  Corpus,
  isHeldOut,
  loadChatTemplate,
  type PrepareOptions,
  prepareSource,
  type SourceSpec,
  type TokenSource,
  Tokenizer,
} from "@slayer/data";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { threadEncoder } from "../src/store/encoder-pool.js";
import { fixtures, readJson, texts } from "./fixtures.js";

const directory = `${fixtures}llama3`;
const tokenizer = await Tokenizer.load(directory);

let folder: string;
let options: PrepareOptions;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "prepare-"));
  options = { tokenizer, directory, cache: join(folder, "cache") };
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, records: readonly unknown[]): string {
  const file = join(folder, name);
  writeFileSync(
    file,
    records.map((record) => `${typeof record === "string" ? record : JSON.stringify(record)}\n`).join(""),
  );
  return file;
}

const documents = Array.from({ length: 3 }, (_, n) => texts.map((text) => `${n} ${text}`)).flat();
const textSource = (name: string, found: readonly string[] = documents): SourceSpec => ({
  files: [
    write(
      name,
      found.map((text) => ({ text })),
    ),
  ],
  read: { kind: "text", field: "text" },
});
/** What the cache holds besides the hashes that it remembers. */
const sourcesIn = (cache: string): string[] => readdirSync(cache).filter((name) => name !== "contents.json");
const tokensOf = (source: TokenSource): number[] => {
  const out = new Int32Array(source.offsets.at(-1)!);
  source.read(0, out);
  return [...out];
};

describe("a source of texts", () => {
  it("tokenized here or on threads: tokens, documents and hash of the corpus in memory", async () => {
    const corpus = await Corpus.build(
      documents.map((text) => ({ text })),
      tokenizer,
    );
    for (const threads of [0, 1, 2]) {
      const spec = textSource(`texts${threads}.jsonl`, documents);
      const { train, report, isReused } = await prepareSource(spec, {
        ...options,
        threads,
        cache: join(folder, `c${threads}`),
      });
      expect([isReused, report.records, report.badRecords]).toEqual([false, documents.length, 0]);
      expect(train.hash).toBe(corpus.hash);
      expect(tokensOf(train)).toEqual(tokensOf(corpus));
      train.close();
    }
  });

  it("is made once: again only when a byte of a file, the tokenizer or a setting changes, or the cache is damaged", async () => {
    const spec = textSource("once.jsonl");
    const reused = async (changed: SourceSpec = spec, more: Partial<PrepareOptions> = {}): Promise<boolean> => {
      const prepared = await prepareSource(changed, { ...options, ...more });
      prepared.train.close();
      prepared.heldOut?.close();
      return prepared.isReused;
    };
    expect(await reused()).toBe(false);
    expect(await reused()).toBe(true);
    cpSync(spec.files[0]!, join(folder, "a copy.jsonl"));
    expect(await reused({ ...spec, files: [join(folder, "a copy.jsonl")] })).toBe(true);
    expect(await reused({ ...spec, heldOut: 0.1 })).toBe(false);
    expect(await reused(textSource("once.jsonl", [...documents, "more"]))).toBe(false);
    const other = await Tokenizer.load(`${fixtures}gpt2-prefix`);
    expect(await reused(spec, { tokenizer: other, directory: `${fixtures}gpt2-prefix` })).toBe(false);
    expect(await reused(textSource("once.jsonl"))).toBe(true);
    for (const entry of sourcesIn(options.cache)) truncateSync(join(options.cache, entry, "train.tokens"), 2);
    expect(await reused()).toBe(false);
    expect(await reused()).toBe(true);
    expect(readdirSync(options.cache).filter((name) => name.includes("partial"))).toEqual([]);
  });

  it("files that have not changed are not read again to see that; the least change is seen", async () => {
    const cache = join(folder, "remembering");
    const spec = textSource("remembered.jsonl");
    const file = spec.files[0]!;
    const hashed = async (): Promise<number> => {
      const stages: number[] = [];
      const prepared = await prepareSource(spec, {
        ...options,
        cache,
        onProgress: ({ stage, bytes }) => stage === "hash" && stages.push(bytes),
      });
      prepared.train.close();
      // One report for each file that is behind, and one for each piece of it that was read.
      return stages.length - 1;
    };
    const long = new Date(Date.now() - 60_000);
    expect(await hashed()).toBeGreaterThan(0);
    const { size, ino, ctimeMs, mtimeMs } = statSync(file);
    const sha256 = createHash("sha256").update(readFileSync(file)).digest("hex");
    writeFileSync(
      join(cache, "contents.json"),
      JSON.stringify({ [resolve(file)]: { size, ino, ctimeMs, mtimeMs, sha256 } }),
    );
    expect(await hashed()).toBe(0);
    utimesSync(file, long, long);
    expect(await hashed()).toBeGreaterThan(0);
    writeFileSync(join(cache, "contents.json"), "no json");
    expect(await hashed()).toBeGreaterThan(0);
  });

  it("documents held out by their hash are in one of the two sets, and all are", async () => {
    const { train, heldOut, report } = await prepareSource({ ...textSource("held.jsonl"), heldOut: 0.2 }, options);
    const of = (isHeld: boolean): number[] =>
      documents
        .filter((text) => isHeldOut(text, 0.2) === isHeld)
        .flatMap((text) => [...tokenizer.encode(text, { addSpecialTokens: false })]);
    expect(tokensOf(train)).toEqual(of(false));
    expect(tokensOf(heldOut!)).toEqual(of(true));
    const bytes = documents
      .filter((text) => isHeldOut(text, 0.2))
      .reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    expect(report.heldOutBytes).toBe(bytes);
    train.close();
    heldOut!.close();
  });

  it("batches from a file are those from memory, in every packing", async () => {
    const { train } = await prepareSource(textSource("batches.jsonl"), options);
    const corpus = await Corpus.build(
      documents.map((text) => ({ text })),
      tokenizer,
    );
    for (const mode of ["concatenate", "documents", "whole"] as const) {
      const settings = {
        sequenceLength: 64,
        batchSize: 4,
        mode,
        boundary: { after: 1 },
        shuffle: { documents: true, sequences: true },
        seed: 3,
      };
      const [fromFile, fromMemory] = [new Batches(train, settings), new Batches(corpus, settings)];
      for (let i = 0; i < 40; i++) expect(fromFile.next()).toEqual(fromMemory.next());
    }
    train.close();
  });

  it("bad records are told with file and line, also when the tokens were there already; too many are an error, and leave nothing", async () => {
    const file = write("bad.jsonl", [{ text: "good" }, "no json", { other: 1 }, { text: "good too" }]);
    const spec: SourceSpec = { files: [file], read: { kind: "text", field: "text" } };
    const cache = join(folder, "bad-cache");
    const failing = prepareSource(spec, { ...options, cache, maxBadShare: 0.4 });
    await expect(failing).rejects.toMatchObject({ code: "bad-records", file, line: 2 });
    expect(sourcesIn(cache)).toEqual([]);
    for (const isReused of [false, true]) {
      const prepared = await prepareSource(spec, { ...options, cache, maxBadShare: 0.5 });
      expect(prepared.isReused).toBe(isReused);
      expect(prepared.report.bad.map(({ line }) => line)).toEqual([2, 3]);
      prepared.train.close();
    }
    await expect(prepareSource(spec, { ...options, cache, maxBadShare: 0.4 })).rejects.toMatchObject({
      code: "bad-records",
    });
    await expect(
      prepareSource({ ...spec, files: [write("empty.jsonl", [])] }, { ...options, cache }),
    ).rejects.toMatchObject({
      code: "empty-corpus",
    });
    await expect(prepareSource({ ...spec, files: [join(folder, "none.jsonl")] }, options)).rejects.toMatchObject({
      code: "missing-file",
    });
  });

  it("stopping leaves nothing behind", async () => {
    const cache = join(folder, "stopped");
    const controller = new AbortController();
    const signal = controller.signal;
    const spec = textSource("stop.jsonl", Array<string>(2000).fill("a text that repeats"));
    const run = prepareSource(spec, {
      ...options,
      cache,
      signal,
      onProgress: ({ stage }) => stage === "tokenize" && controller.abort(),
    });
    await expect(run).rejects.toThrow(/abort/i);
    expect(sourcesIn(cache)).toEqual([]);
  });
});

describe("a source of conversations", () => {
  interface Case {
    tokenizer: string;
    template: string;
    tokens: Record<string, string>;
    ids: number[];
  }
  const { templates, conversations, cases, ...withTools } = readJson<{
    templates: Record<string, { marked: string }>;
    conversations: object[];
    cases: Case[];
    tool_templates: Record<string, { marked: string }>;
    tool_conversations: object[];
    tool_cases: Case[];
  }>("chat.json");
  const wanted = cases.filter(({ tokenizer: name, template }) => name === "llama3" && template === "lines");
  const template: ChatTemplateSource = { template: templates.lines!.marked, tokens: wanted[0]!.tokens };
  const chats = (file: string, changed = template): SourceSpec => ({
    files: [file],
    read: { kind: "chat", layout: "auto", template: changed },
  });

  it("from JSONL and Parquet: the tokens of Transformers; what is not the assistant's is context (~id)", async () => {
    const file = write("chats.jsonl", [...conversations.map((messages) => ({ messages })), { messages: [] }]);
    const { train, report } = await prepareSource(chats(file), options);
    expect(report.bad).toEqual([{ file, line: conversations.length + 1, reason: "no turn of the assistant" }]);
    const tokens = tokensOf(train);
    expect(tokens.map((token) => (token < 0 ? ~token : token))).toEqual(wanted.flatMap(({ ids }) => ids));
    train.close();
    const { train: rows } = await prepareSource(chats(`${fixtures}packed/chats.parquet`), options);
    expect(rows.documents).toBe(5);
    rows.close();
  });

  it("with tools and calls: the tokens of Transformers", async () => {
    const file = write("tools.jsonl", withTools.tool_conversations);
    const calls = { ...template, template: withTools.tool_templates.calls!.marked };
    const { train, report } = await prepareSource(chats(file, calls), options);
    expect(report.bad).toEqual([]);
    const expected = withTools.tool_cases.filter((c) => c.tokenizer === "llama3" && c.template === "calls");
    expect(tokensOf(train).map((token) => (token < 0 ? ~token : token))).toEqual(expected.flatMap(({ ids }) => ids));
    train.close();
  });

  it("reasons found on a thread are told with file and line", async () => {
    const file = write("refused.jsonl", [
      { instruction: "q", output: "a" },
      { instruction: "q", output: "a", system: "s" },
    ]);
    const picky = {
      ...template,
      template: `{% if messages[0].role == 'system' %}{{ raise_exception('no systems') }}{% endif %}${template.template}`,
    };
    const { train, report } = await prepareSource(chats(file, picky), options);
    expect(report.bad).toEqual([{ file, line: 2, reason: "the chat template: no systems" }]);
    train.close();
  });

  it("an endless template is ended after its time; the process goes on", async () => {
    const endless = {
      template: "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}",
      tokens: {},
    };
    const encoder = threadEncoder({ directory, tokenizerHash: tokenizer.hash, chat: endless }, 1, 1);
    await expect(
      encoder.encode([{ messages: [{ role: "assistant", content: "x" }], tools: null }]),
    ).rejects.toMatchObject({
      code: "bad-template",
    });
    await encoder.close();
  });

  it.each([
    ["a list of a billion", "{% for i in range(1000000000) %}x{% endfor %}", "range: expected at most 100000 numbers"],
    [
      "a text that doubles",
      "{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s + n.s %}{% endfor %}",
      "string length",
    ],
    [
      "endless recursion",
      "{% macro f(x) %}{{ g.f(x) }}{% endmacro %}{% set g = namespace(f=f) %}{{ f(1) }}",
      "chat template",
    ],
  ])("hostile templates give a reason, and the process goes on: %s", async (_, text, reason) => {
    const file = write("hostile.jsonl", [{ instruction: "q", output: "a" }]);
    const run = prepareSource(chats(file, { template: text, tokens: {} }), {
      ...options,
      cache: join(folder, "hostile"),
    });
    await expect(run).rejects.toThrow(reason);
  });

  it("the template of a model: a file of its own, a string, or the one named default; none is told", async () => {
    const model = (name: string, config: object, jinja?: string): string => {
      const dir = join(folder, name);
      mkdirSync(dir);
      writeFileSync(join(dir, "tokenizer_config.json"), JSON.stringify({ eos_token: { content: "</s>" }, ...config }));
      if (jinja !== undefined) writeFileSync(join(dir, "chat_template.jinja"), jinja);
      return dir;
    };
    const named = [
      { name: "tool_use", template: "T" },
      { name: "default", template: "D" },
    ];
    expect(await loadChatTemplate(model("file", { chat_template: "S" }, "J"))).toEqual({
      template: "J",
      tokens: { eos_token: "</s>" },
    });
    expect((await loadChatTemplate(model("string", { chat_template: "S" }))).template).toBe("S");
    expect((await loadChatTemplate(model("named", { chat_template: named }))).template).toBe("D");
    const none = model("none", {});
    await expect(loadChatTemplate(none)).rejects.toMatchObject({
      code: "missing-file",
      message: expect.stringContaining("no chat template"),
    });
    expect((await loadChatTemplate(none, join(folder, "file", "chat_template.jinja"))).template).toBe("J");
    await expect(loadChatTemplate(none, join(folder, "nowhere"))).rejects.toMatchObject({ code: "missing-file" });
    await expect(loadChatTemplate(model("huge", {}, "x".repeat(300_000)))).rejects.toMatchObject({ code: "too-large" });
  });
});
