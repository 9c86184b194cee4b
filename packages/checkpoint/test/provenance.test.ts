import { readFile } from "node:fs/promises";
import { join } from "node:path";

import { beforeEach, describe, expect, it } from "vitest";

import { PROVENANCE_FILE, readProvenance, writeProvenance } from "@slayer/checkpoint";
import type { Provenance } from "@slayer/checkpoint";

import { failure, put, scratch } from "./files.js";

let dir: string;
beforeEach(async () => {
  dir = await scratch();
});

const HASH = "0123456789abcdef".repeat(4);
const EXAMPLE: Provenance = {
  version: 1,
  recipe: { strategy: "slayer", groups: 8, nested: { list: [1, null, "x"] } },
  base: { path: "llama-2-7b", tensors: { "model.norm.weight": HASH } },
  blocks: [
    { index: 0, kind: "original", sources: [{ block: 0, weight: 1 }], zeroed: [] },
    {
      index: 1,
      kind: "inserted",
      sources: [
        { block: 0, weight: 0.5 },
        { block: 1, weight: 0.5 },
      ],
      zeroed: ["self_attn.o_proj.weight", "mlp.down_proj.weight"],
    },
  ],
  tensors: {
    "model.norm.weight": { sources: [{ tensor: "model.norm.weight", weight: 1 }], zeroed: false, sha256: HASH },
  },
  preservesFunction: true,
};

/** A copy with one part replaced. */
const changed = (change: object): object => ({ ...EXAMPLE, ...change });

it("is null where there is none", async () => {
  expect(await readProvenance(dir)).toBe(null);
});

it("is read as it was written, and equal provenance gives equal bytes", async () => {
  await writeProvenance(dir, EXAMPLE);
  const first = await readFile(join(dir, PROVENANCE_FILE), "utf8");
  const read = await readProvenance(dir);
  expect(read).toEqual(EXAMPLE);
  await writeProvenance(dir, structuredClone(EXAMPLE));
  expect(await readFile(join(dir, PROVENANCE_FILE), "utf8")).toBe(first);
});

describe("bad-provenance:", () => {
  it.each<[string, object | string]>([
    ["no JSON", "{"],
    ["another version", changed({ version: 2 })],
    ["an unknown key", changed({ date: "today" })],
    ["an unknown kind", changed({ blocks: [{ ...EXAMPLE.blocks[0], kind: "new" }] })],
    ["a negative block", changed({ blocks: [{ ...EXAMPLE.blocks[0], sources: [{ block: -1, weight: 1 }] }] })],
    ["blocks out of order", changed({ blocks: [EXAMPLE.blocks[1], EXAMPLE.blocks[0]] })],
    ["a short hash", changed({ base: { tensors: { a: "00" } } })],
    ["an absolute path", changed({ base: { path: "/home/me/model", tensors: {} } })],
    ["a home path", changed({ base: { path: "~/model", tensors: {} } })],
    ["a drive", changed({ base: { path: "D:\\model", tensors: {} } })],
    ["tensors missing", changed({ tensors: undefined })],
    ["no end of nesting", `{"version":1,"recipe":{"a":${"[".repeat(1e5)}${"]".repeat(1e5)}}}`],
  ])("%s", async (_title, content) => {
    const file = await put(dir, PROVENANCE_FILE, content);
    const error = await failure(() => readProvenance(dir));
    expect({ code: error.code, file: error.file }).toEqual({ code: "bad-provenance", file });
  });

  it("is not written either", async () => {
    const bad = { ...EXAMPLE, base: { path: "/home/me", tensors: {} } };
    expect((await failure(() => writeProvenance(dir, bad))).code).toBe("bad-provenance");
    expect(await readProvenance(dir)).toBe(null);
  });
});
