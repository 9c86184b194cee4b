import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DataError, Tokenizer, trainBpe, writeTokenizer } from "@slayer/data";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fixtures, readJson } from "./fixtures.js";

interface Model {
  vocab: Record<string, number>;
  merges: [string, string][];
}
const modelOf = (files: { tokenizerJson: object }): Model => (files.tokenizerJson as { model: Model }).model;
const tokensOf = ({ vocab }: Model): string[] => Object.keys(vocab).toSorted((a, b) => vocab[a] - vocab[b]);

const corpus = [
  readFileSync(new URL("../../../LICENSE", import.meta.url), "utf8"),
  readFileSync(`${fixtures}corpus.txt`, "utf8"),
];

describe("training byte-level BPE", () => {
  it.each(["gpt2", "llama3"] as const)("%s: tokens and merges of Python tokenizers' BpeTrainer", (split) => {
    const expected = readJson<{ vocab_size: number; vocab: string[]; merges: [string, string][] }>(
      `bpe-train-${split}.json`,
    );
    const model = modelOf(trainBpe(corpus, { vocabSize: expected.vocab_size, split, minFrequency: 0 }));
    expect(model.merges).toEqual(expected.merges);
    expect(tokensOf(model)).toEqual(expected.vocab);
  });

  it("any text: merges of the definition, counted anew before each", () => {
    const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 9 });
    fc.assert(
      fc.property(fc.array(word, { minLength: 1, maxLength: 12 }), (words) => {
        const model = modelOf(
          trainBpe([words.join("\n")], { vocabSize: 256 + 12, bosToken: null, eosToken: null, minFrequency: 1 }),
        );
        expect(model.merges).toEqual(mergesByDefinition(words.join("\n"), tokensOf(model).slice(0, 256), 12));
      }),
    );
  });

  it("256 + specials is a byte vocabulary: any text is its UTF-8 bytes", () => {
    const { tokenizerJson, tokenizerConfig } = trainBpe([], { vocabSize: 258 });
    const tokenizer = Tokenizer.parse(JSON.stringify(tokenizerJson), tokenizerConfig);
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        const ids = tokenizer.encode(text);
        expect(ids[0]).toBe(tokenizer.bosId);
        expect(ids.length - 1).toBe(new TextEncoder().encode(text).length);
        expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe(text);
      }),
    );
  });

  it("writes files that load, and no others", async () => {
    const folder = mkdtempSync(join(tmpdir(), "bpe-"));
    try {
      const files = trainBpe(corpus, { vocabSize: 400, specialTokens: ["<|pad|>"], split: "gpt2" });
      await writeTokenizer(folder, files);
      expect(readdirSync(folder).toSorted()).toEqual(["tokenizer.json", "tokenizer_config.json"]);
      const tokenizer = await Tokenizer.load(folder);
      expect([tokenizer.vocabSize, tokenizer.bosId, tokenizer.eosId, tokenizer.idOf("<|pad|>")]).toEqual([
        400, 1, 2, 0,
      ]);
      for (const text of corpus) {
        expect(tokenizer.decode(tokenizer.encode(text), { skipSpecialTokens: true })).toBe(text);
      }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("refuses a vocabulary without room for the bytes", () => {
    expect(() => trainBpe([], { vocabSize: 257 })).toThrow(DataError);
    expect(() => trainBpe([], { vocabSize: 300.5 })).toThrow(/vocabSize: expected 258/);
  });
});

/** Newlines stay words of their own here, as Llama-3's split has them, and never pair with anything else. */
function mergesByDefinition(text: string, tokens: string[], count: number): [string, string][] {
  const all = [...tokens];
  const char = (byte: string): string => (byte === "\n" ? "Ċ" : byte);
  let words = text.split(/(\n+)/).map((word) => Array.from(word, (byte) => all.indexOf(char(byte))));
  const merges: [string, string][] = [];
  while (merges.length < count) {
    const counts = new Map<string, number>();
    for (const word of words) {
      for (let i = 1; i < word.length; i++) {
        const pair = `${word[i - 1]} ${word[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    const [best] = [...counts].toSorted(([a, m], [b, n]) => {
      const [a0, a1] = a.split(" ").map(Number);
      const [b0, b1] = b.split(" ").map(Number);
      return n - m || a0 - b0 || a1 - b1;
    });
    if (best === undefined) break;
    const [left, right] = best[0].split(" ").map(Number);
    merges.push([all[left], all[right]]);
    let id = all.indexOf(all[left] + all[right]);
    if (id < 0) id = all.push(all[left] + all[right]) - 1;
    words = words.map((word) => {
      const merged: number[] = [];
      for (let i = 0; i < word.length; i++) {
        if (word[i] === left && word[i + 1] === right) {
          merged.push(id);
          i++;
        } else merged.push(word[i]);
      }
      return merged;
    });
  }
  return merges;
}
