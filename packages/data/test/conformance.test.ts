import { Tokenizer } from "@slayer/data";
import { describe, expect, it } from "vitest";
import { fixtures, readCases, tokenizerNames } from "./fixtures.js";

describe.each(tokenizerNames)("%s: same as Python tokenizers", async (name) => {
  const tokenizer = await Tokenizer.load(fixtures + name);
  const { added, texts, ids } = readCases(name);

  it(`ids of ${texts.length} texts`, () => {
    const different = texts.filter((row) => {
      const found = [...tokenizer.encode(row.text, { addSpecialTokens: false })];
      return JSON.stringify(found) !== JSON.stringify(row.ids);
    });
    expect(different).toEqual([]);
  });

  it("ids with special tokens added", () => {
    for (const row of texts) {
      expect([...tokenizer.encode(row.text)], JSON.stringify(row.text)).toEqual([...added, ...row.ids]);
    }
  });

  it("text of the ids of every text, special tokens shown and skipped", () => {
    for (const row of texts) {
      expect(tokenizer.decode(row.ids), JSON.stringify(row.text)).toBe(row.decoded);
      expect(tokenizer.decode(row.ids, { skipSpecialTokens: true }), JSON.stringify(row.text)).toBe(row.skipped);
    }
  });

  it("text of ids that no text gives: broken UTF-8, stray special tokens", () => {
    for (const row of ids) {
      expect(tokenizer.decode(row.ids), String(row.ids)).toBe(row.decoded);
      expect(tokenizer.decode(row.ids, { skipSpecialTokens: true }), String(row.ids)).toBe(row.skipped);
    }
  });
});
