import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as library from "@huggingface/tokenizers";
import { DataError, Tokenizer } from "@slayer/data";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures, readJson, texts, tokenizerNames } from "./fixtures.js";

/** Text made of what words are cut at, of pieces of the vocabulary, and of any characters. */
const anyText = fc
  .array(
    fc.oneof(
      fc.constantFrom(" ", "  ", "▁", "\n", "\t", "the", "baker's", "12345", "<s>", "é", "\u00a0", "😀"),
      fc.constantFrom(...texts),
      fc.string({ unit: "binary", maxLength: 6 }),
    ),
    { maxLength: 30 },
  )
  .map((parts) => parts.join(""));

interface RawLibrary {
  encode(text: string, options: object): { ids: number[] };
}

describe("cutting Llama-2 texts into words", () => {
  it.each(["llama2-legacy", "llama2-metaspace"])("%s: any text has the ids of the uncut text", async (name) => {
    const tokenizer = await Tokenizer.load(fixtures + name);
    const uncut = new library.Tokenizer(readJson<object>(`${name}/tokenizer.json`), {}) as unknown as RawLibrary;
    fc.assert(
      fc.property(anyText, (text) => {
        expect([...tokenizer.encode(text)]).toEqual(uncut.encode(text, { add_special_tokens: true }).ids);
      }),
      { numRuns: 300 },
    );
  });

  it("is not done where a merge crosses into a ▁", () => {
    // "a▁" is a token: "a b" must become [▁, a▁, b], which words alone cannot give.
    const vocab = { "<unk>": 0, "▁": 1, a: 2, b: 3, "a▁": 4, "▁a": 5 };
    const model = {
      type: "BPE",
      unk_token: "<unk>",
      vocab,
      merges: [
        ["a", "▁"],
        ["▁", "a"],
      ],
    };
    const tokenizer = Tokenizer.parse(JSON.stringify({ ...llama2Parts(), model }));
    expect([...tokenizer.encode("a b")]).toEqual([1, 4, 3]);
  });

  it("a word of 300,000 tokens is no problem", async () => {
    const tokenizer = await Tokenizer.load(`${fixtures}llama2-legacy`);
    expect(tokenizer.encode("\u0001".repeat(300_000), { addSpecialTokens: false }).length).toBe(300_001);
  });
});

describe.each(tokenizerNames)("%s", async (name) => {
  const tokenizer = await Tokenizer.load(fixtures + name);
  const anyIds = fc.array(fc.oneof(fc.nat({ max: 300 }), fc.nat({ max: tokenizer.vocabSize - 1 })), { maxLength: 40 });

  it("a stream gives the text of decode(), for any ids", () => {
    fc.assert(
      fc.property(anyIds, fc.boolean(), (ids, skipSpecialTokens) => {
        const stream = tokenizer.decodeStream({ skipSpecialTokens });
        const streamed = ids.map((id) => stream.push(id)).join("") + stream.flush();
        expect(streamed).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
      }),
    );
  });

  it("a stream never gives half a character: no U+FFFD that the text has not", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 40 }), (text) => {
        fc.pre(!text.includes("\uFFFD"));
        const stream = tokenizer.decodeStream();
        const chunks = [...tokenizer.encode(text, { addSpecialTokens: false })].map((id) => stream.push(id));
        for (const chunk of [...chunks, stream.flush()]) {
          expect(chunk).not.toContain("\uFFFD");
          expect(chunk).not.toMatch(/\p{Surrogate}/u);
        }
      }),
    );
  });

  it("a lone surrogate counts as U+FFFD", () => {
    expect(tokenizer.encode("a\ud800b\udc00")).toEqual(tokenizer.encode("a\ufffdb\ufffd"));
  });

  it("knows its size, hash, BOS and EOS", () => {
    const json = readJson<{ model: { vocab: Record<string, number> }; added_tokens: { id: number }[] }>(
      `${name}/tokenizer.json`,
    );
    const ids = [...Object.values(json.model.vocab), ...json.added_tokens.map(({ id }) => id)];
    expect(tokenizer.vocabSize).toBe(Math.max(...ids) + 1);
    expect(tokenizer.hash).toBe(
      createHash("sha256")
        .update(readFileSync(`${fixtures}${name}/tokenizer.json`))
        .digest("hex"),
    );
    const [bos, eos] = name.startsWith("llama2") ? [1, 2] : [0, 1];
    expect([tokenizer.bosId, tokenizer.eosId]).toEqual([bos, eos]);
  });
});

describe("wrong files and ids", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "tokenizer-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const codeOf = (run: () => unknown): string => {
    try {
      run();
    } catch (error) {
      if (error instanceof DataError) return error.code;
      throw error;
    }
    return "no error";
  };
  const parse = (change: object): string =>
    codeOf(() => Tokenizer.parse(JSON.stringify({ ...readJson<object>("llama2-legacy/tokenizer.json"), ...change })));

  it("a directory without tokenizer.json, or with broken files", async () => {
    await expect(Tokenizer.load(folder)).rejects.toMatchObject({
      code: "missing-file",
      file: join(folder, "tokenizer.json"),
    });
    writeFileSync(join(folder, "tokenizer.json"), '{"model": ');
    await expect(Tokenizer.load(folder)).rejects.toMatchObject({ code: "bad-json" });
    writeFileSync(join(folder, "tokenizer.json"), Buffer.from([0x22, 0xff, 0x22]));
    await expect(Tokenizer.load(folder)).rejects.toMatchObject({ code: "bad-utf8" });
    writeFileSync(join(folder, "tokenizer.json"), readFileSync(`${fixtures}llama3/tokenizer.json`));
    writeFileSync(join(folder, "tokenizer_config.json"), "[]");
    await expect(Tokenizer.load(folder)).rejects.toMatchObject({
      code: "bad-json",
      file: join(folder, "tokenizer_config.json"),
    });
    writeFileSync(join(folder, "tokenizer_config.json"), " ".repeat(9_000_000));
    await expect(Tokenizer.load(folder)).rejects.toMatchObject({ code: "too-large" });
  });

  it.each([
    ["bad-tokenizer", { model: null }],
    ["bad-tokenizer", { model: { type: "BPE", vocab: { a: -1 }, merges: [] } }],
    ["bad-tokenizer", { model: { type: "BPE", vocab: { a: 4e9 }, merges: [] } }],
    ["bad-tokenizer", { model: { type: "BPE", vocab: { a: 1 }, merges: [["a", "a", "a"]] } }],
    ["bad-tokenizer", { added_tokens: [{ id: 1 }] }],
    ["bad-tokenizer", { decoder: { type: "Sequence", decoders: 3 } }],
    ["unsupported", { model: { type: "Unigram", vocab: [] } }],
    ["unsupported", { normalizer: { type: "Precompiled", precompiled_charsmap: "" } }],
    ["unsupported", { pre_tokenizer: { type: "Split", pattern: { String: " " }, behavior: "MergedWithPrevious" } }],
    ["unsupported", { added_tokens: [{ id: 1, content: "x", single_word: true }] }],
    ["unsupported", { decoder: { type: "Strip", content: " ", start: 1, stop: 0 } }],
    ["unsupported", { decoder: null }],
  ])("%s: %j", (code, change) => expect(parse(change)).toBe(code));

  it("ids that are none; ids without a token give nothing", async () => {
    const tokenizer = await Tokenizer.load(`${fixtures}llama3`);
    expect(codeOf(() => tokenizer.decode([-1]))).toBe("bad-ids");
    expect(codeOf(() => tokenizer.decode([0.5]))).toBe("bad-ids");
    expect(tokenizer.decode([...tokenizer.encode("ab"), 99_999], { skipSpecialTokens: true })).toBe("ab");
  });
});

function llama2Parts(): object {
  const { normalizer, pre_tokenizer, decoder } = readJson<Record<string, unknown>>("llama2-legacy/tokenizer.json");
  return { normalizer, pre_tokenizer, decoder, post_processor: null, added_tokens: [] };
}
