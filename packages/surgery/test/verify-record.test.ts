import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { planSlayer } from "@slayer/surgery";
import { writeSafetensors } from "./checkpoints.js";
import { at, codes, copyOf, editJson, get, verifyIn } from "./tampering.js";
import { tinyConfig } from "./tiny.js";

const up = "mlp.up_proj.weight";

describe("config, side files and provenance", () => {
  test("config.json: the depth, a changed key, an added key", async () => {
    const copy = await copyOf("F32");
    await editJson(copy, "config.json", (config) => {
      config.num_hidden_layers = 7;
      config.rms_norm_eps = 1e-6;
      config.extra = 1;
    });
    const report = await verifyIn(copy.dir);
    expect(report.problems.map((problem) => problem.message)).toEqual([
      "config.json: num_hidden_layers should be 8, it is 7",
      "config.json: rms_norm_eps should be 0.00001, it is 0.000001",
      "config.json: extra should be absent, it is 1",
    ]);
    expect(report.copied).toBe(48);
  });

  test("side files missing or changed", async () => {
    const copy = await copyOf("F32");
    await rm(join(copy.dir, "out", "tokenizer.json"));
    await writeFile(join(copy.dir, "out", "generation_config.json"), '{"do_sample": false}');
    const report = await verifyIn(copy.dir);
    expect(report.problems).toEqual([
      { code: "side-file", message: "generation_config.json differs from the base's" },
      { code: "side-file", message: "tokenizer.json of the base is missing beside the new weights" },
    ]);
  });

  test("provenance.json must agree with a given plan", async () => {
    const copy = await copyOf("F32");
    const { dir } = copy;
    const other = planSlayer(tinyConfig(), { final: "keep" });
    const report = await verifyIn(dir, { plan: other });
    expect(report.problems.filter((problem) => problem.tensor === undefined).map((problem) => problem.message)).toEqual(
      [
        expect.stringMatching(/^recipe: the plan says .*"final":"keep".*provenance.json .*"final":"deleted-mean"/),
        expect.stringMatching(/^block 7: the plan says .*"original".*provenance.json .*"updated"/),
      ],
    );
    expect(codes(report)).toContainEqual(["wrong-average", at(7, up)]);
  });

  test("a wrong label in provenance.json is found with a plan", async () => {
    const copy = await copyOf("F32");
    await editJson(copy, "provenance.json", (provenance) => {
      provenance.blocks[7].kind = "inserted";
    });
    expect(codes(await verifyIn(copy.dir, { plan: copy.plan }))).toEqual([["provenance-mismatch", undefined]]);
  });

  test("wrong hashes and sources of single tensors", async () => {
    const copy = await copyOf("F32");
    await editJson(copy, "provenance.json", (provenance) => {
      provenance.tensors[at(0, up)].sha256 = "0".repeat(64);
      provenance.tensors[at(1, up)].sources[0].tensor = at(0, up);
      delete provenance.tensors[at(2, up)];
      provenance.tensors["another.weight"] = { sources: [], zeroed: false, sha256: "0".repeat(64) };
      provenance.base.tensors[at(3, up)] = "1".repeat(64);
      provenance.base.tensors[at(5, up)] = "2".repeat(64);
      delete provenance.base.tensors[at(4, up)];
    });
    expect(codes(await verifyIn(copy.dir))).toEqual([
      ["provenance-mismatch", at(0, up)],
      ["provenance-mismatch", at(1, up)],
      ["provenance-mismatch", at(2, up)],
      ["provenance-mismatch", "another.weight"],
      ["base-mismatch", at(3, up)],
      ["base-mismatch", at(4, up)],
      ["provenance-mismatch", at(5, up)],
    ]);
  });

  test("another base", async () => {
    const copy = await copyOf("F32");
    const name = at(1, up);
    const bytes = get(copy.base, name).bytes.slice();
    bytes[0] = (bytes[0] as number) ^ 1;
    copy.base.set(name, { ...get(copy.base, name), bytes });
    await writeSafetensors(join(copy.dir, "base", "model.safetensors"), copy.base);
    expect(codes(await verifyIn(copy.dir))).toEqual([
      ["different-bytes", at(1, up)],
      ["different-bytes", at(2, up)],
      ["base-mismatch", at(1, up)],
    ]);
  });

  test.each([
    ["absent", undefined, "missing-provenance", /has no provenance.json/],
    ["not JSON", "{", "bad-provenance", /provenance.json/],
    [
      "a source outside the base",
      (p: any) => (p.blocks[0].sources[0].block = 99),
      "bad-provenance",
      /block 99 is not in a base of 8 blocks/,
    ],
    [
      "an unknown zeroed tensor",
      (p: any) => (p.blocks[2].zeroed[0] = "mlp.bias"),
      "bad-provenance",
      /no tensor "mlp.bias"/,
    ],
    ["a false claim", (p: any) => (p.preservesFunction = true), "bad-provenance", /its blocks change the function/],
  ])("provenance.json %s", async (_what, edit, code, says) => {
    const copy = await copyOf("F32");
    const path = join(copy.dir, "out", "provenance.json");
    if (edit === undefined) await rm(path);
    else if (typeof edit === "string") await writeFile(path, edit);
    else await editJson(copy, "provenance.json", edit);
    const report = await verifyIn(copy.dir);
    expect(codes(report)).toEqual([[code, undefined]]);
    expect(report.problems[0]?.message).toMatch(says);
    expect(report).toMatchObject({ ok: false, copied: 0 });
    const withPlan = await verifyIn(copy.dir, { plan: copy.plan });
    expect(withPlan).toMatchObject({ ok: false, copied: 48, averaged: 23, zeroed: 4 });
  });

  test("a base that is no checkpoint of its config throws; an abort throws", async () => {
    const copy = await copyOf("F32");
    await expect(verifyIn(copy.dir, { signal: AbortSignal.abort() })).rejects.toThrow(/abort/i);
    copy.base.delete("model.norm.weight");
    await writeSafetensors(join(copy.dir, "base", "model.safetensors"), copy.base);
    await expect(verifyIn(copy.dir)).rejects.toMatchObject({ code: "missing-tensor", tensor: "model.norm.weight" });
  });
});
