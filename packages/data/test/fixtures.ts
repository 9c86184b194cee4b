import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Folder of files written by tools/oracle/tokenizer_ids.py; each says with which command and versions. */
export const fixtures = fileURLToPath(new URL("./fixtures/", import.meta.url));
export const tokenizerNames = ["llama2-legacy", "llama2-metaspace", "llama2-split", "gpt2-prefix", "llama3"] as const;

export function readJson<T>(name: string): T {
  return JSON.parse(readFileSync(fixtures + name, "utf8")) as T;
}

export const texts = readJson<{ texts: string[] }>("texts.json").texts;

/** Ids, decoded text, decoded text without special tokens. */
export interface Case {
  ids: number[];
  decoded: string;
  skipped: string;
}

type Row = [number[], string | null, string | null];

export function readCases(name: string): { added: number[]; texts: (Case & { text: string })[]; ids: Case[] } {
  const file = readJson<{ added: number[]; texts: Row[]; ids: Row[] }>(`${name}/cases.json`);
  const expand = ([ids, decoded, skipped]: Row, text: string): Case => ({
    ids,
    decoded: decoded ?? text,
    skipped: skipped ?? decoded ?? text,
  });
  return {
    added: file.added,
    texts: file.texts.map((row, i) => ({ text: texts[i], ...expand(row, texts[i]) })),
    ids: file.ids.map((row) => expand(row, "")),
  };
}
