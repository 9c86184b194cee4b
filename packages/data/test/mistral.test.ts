import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Tokenizer } from "@slayer/data";
import { describe, expect, it } from "vitest";
import { tokenizerJsonOfSentencePiece } from "./sentencepiece.js";

const data = process.env.SLAYER_DATA ?? fileURLToPath(new URL("../../../../shared/data", import.meta.url));
const model = `${data}/tokenizers/mistral_tokenizer.model.v1`;
const vectors = `${data}/tokenizers/mistral_v1.sentencepiece-vectors.part.jsonl`;
const missing = [model, vectors].filter((file) => !existsSync(file));

describe.skipIf(missing.length > 0)(
  `Mistral's 32,000 tokens${missing.length > 0 ? ` (skipped: no ${missing.join(", ")})` : ""}`,
  () => {
    it("ids and texts of SentencePiece 0.2.2 itself", () => {
      const tokenizer = Tokenizer.parse(tokenizerJsonOfSentencePiece(readFileSync(model)));
      const rows = readFileSync(vectors, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as { text: string; ids: number[]; decoded: string });
      expect(rows.length).toBeGreaterThan(500);
      for (const { text, ids, decoded } of rows) {
        expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids);
        expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded);
      }
    });
  },
);
