import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { ModelConfig } from "@slayer/checkpoint";
import { parseCustomSurgery, planCustom, planLlamaPro, planPrune, planSlayer, planSolar } from "@slayer/surgery";
import type { BlockPlan, SurgeryPlan } from "@slayer/surgery";
import type { BaseOptions, Dtype, Stored } from "./checkpoints.js";
import { decode, encode, mean, readTensors, writeSafetensors } from "./checkpoints.js";
import type { Copy } from "./tampering.js";
import { at, codes, copyOf, expandNew, get, pristine, store, verifyIn } from "./tampering.js";

describe("what expand wrote is right", () => {
  test.each(["F32", "BF16", "F16"] as const)("slayer, %s: every tensor accounted for", async (dtype) => {
    const { dir, plan } = pristine[dtype];
    for (const options of [{}, { plan }]) {
      const { bytesRead, ...report } = await verifyIn(dir, options);
      // 8 blocks of 9 tensors and 3 outside: 2 inserted (7 averaged, 2 zeroed), 1 updated (9 averaged), 5 copied.
      expect(report).toEqual({ ok: true, problems: [], copied: 48, averaged: 23, zeroed: 4, preservesFunction: false });
      expect(bytesRead).toBeGreaterThan(0);
    }
  });

  test("llama-pro on a tied, sharded base in BF16 with norms in F32", async () => {
    const dtypeOf = (name: string) => (name.includes("norm") ? ("F32" as const) : undefined);
    const options: BaseOptions = { dtype: "BF16", dtypeOf, shards: 3, json: { tie_word_embeddings: true } };
    const { dir, plan } = await expandNew("tied", options, planLlamaPro);
    const report = await verifyIn(dir, { plan });
    expect(report).toMatchObject({ ok: true, copied: 2 + 72 + 14, averaged: 0, zeroed: 4, preservesFunction: true });
  });
});

describe("the other recipes", () => {
  const scores = { blocks: [5, 4, 3, 2, 1, 1, 1, 9].map((value, block) => ({ block, value })) };
  const custom = parseCustomSurgery(`
    insert:
      - {after: 1, sources: [{block: 1, weight: 0.75}, {block: 5, weight: 0.5}], zeroed: none}
      - {after: 1, sources: [0, 3, 7], zeroed: [mlp.up_proj.weight]}
    remove: [2]
    update: [{block: 6, sources: [6, 7]}]
    train: [0]
  `);
  const recipes: [name: string, planner: (config: ModelConfig) => SurgeryPlan][] = [
    ["solar", planSolar],
    ["prune, the block before updated", (c) => planPrune(c, { blocks: "4-6", final: "kept-mean" })],
    ["prune by importance", (c) => planPrune(c, { prune: 3, choose: "lowest" }, scores)],
    ["slayer by importance", (c) => planSlayer(c, { groups: 1 }, scores)],
    ["slayer, groups of one: a chain of averages", (c) => planSlayer(c, { groupSize: 1 })],
    ["custom", (c) => planCustom(c, custom)],
  ];

  test.each(recipes)(
    "%s: right as written; a swap, a lost zero, another average, coarse rounding and one byte are found",
    async (name, planner) => {
      const { dir, plan } = await expandNew(name, { dtype: "F32" }, planner);
      const right = await verifyIn(dir, { plan });
      expect(right).toMatchObject({ ok: true, problems: [] });
      expect(right.copied + right.averaged + right.zeroed).toBe(9 * plan.blocks.length + 3);

      const [base, out] = [await readTensors(join(dir, "base")), await readTensors(join(dir, "out"))];
      const norm = "input_layernorm.weight";
      const source = (block: number, suffix: string): Uint8Array => get(base, at(block, suffix)).bytes;
      const pair = (a: number): Uint8Array => mean([get(base, at(a, norm)), get(base, at(a + 1, norm))]);
      const bf16 = (bytes: Uint8Array): Uint8Array =>
        encode("F32", decode("BF16", encode("BF16", decode("F32", bytes))));
      /** Changes a tensor of every block that `change` has something for, and wants each of them found. */
      const damage = async (change: (block: BlockPlan) => [code: string, suffix: string, bytes: Uint8Array][]) => {
        const changed = new Map(out);
        const wanted: [string, string][] = [];
        for (const block of plan.blocks) {
          for (const [code, suffix, bytes] of change(block)) {
            changed.set(at(block.index, suffix), { ...get(out, at(block.index, suffix)), bytes });
            wanted.push([code, at(block.index, suffix)]);
          }
        }
        await writeSafetensors(join(dir, "out", "model.safetensors"), changed);
        const found = codes(await verifyIn(dir, { plan }));
        expect(found).toEqual(expect.arrayContaining(wanted));
        expect(found).toHaveLength(wanted.length);
      };
      await damage(({ index }) => {
        const bytes = get(out, at(index, norm)).bytes.map((byte, i) => (i === 13 ? byte ^ 1 : byte));
        return [["different-bytes", norm, bytes]];
      });
      await damage(({ sources, zeroed }) => {
        const blocks = sources.map(({ block }) => block);
        const [first = 0] = blocks;
        return [
          blocks.length === 1
            ? ["wrong-block", norm, source(first === 7 ? 1 : 7, norm)]
            : ["wrong-average", norm, pair(blocks.includes(3) ? 0 : 3)],
          ...zeroed.map((suffix): [string, string, Uint8Array] => ["not-zeroed", suffix, source(first, suffix)]),
        ];
      });
      await damage(({ index, sources }) =>
        sources.length === 1 ? [] : [["rounded-average", norm, bf16(get(out, at(index, norm)).bytes)]],
      );
    },
  );
});

describe("every wrong tensor is found and named, also when provenance.json was forged to match", () => {
  type Tamper = [
    what: string,
    dtype: Dtype,
    code: string,
    name: string,
    says: RegExp,
    change: (copy: Copy) => Uint8Array,
  ];
  const up = "mlp.up_proj.weight";
  const down = "mlp.down_proj.weight";
  const pair = (copy: Copy, a: number, b: number) => [get(copy.base, at(a, up)), get(copy.base, at(b, up))];
  const floats = ({ dtype, bytes }: Stored): number[] => decode(dtype, bytes);
  const flip = (bytes: Uint8Array, byte: number): Uint8Array =>
    bytes.map((value, i) => (i === byte ? value ^ 1 : value));

  const tampers: Tamper[] = [
    [
      "a block taken from elsewhere",
      "BF16",
      "wrong-block",
      at(3, up),
      /expected a copy of model.layers.2.mlp.up_proj.weight, it holds model.layers.3.mlp/,
      (c) => get(c.base, at(3, up)).bytes,
    ],
    [
      "a new block not zeroed",
      "F32",
      "not-zeroed",
      at(2, down),
      /expected zeros, it holds model.layers.1.mlp.down/,
      (c) => get(c.base, at(1, down)).bytes,
    ],
    [
      "one number not zero",
      "F32",
      "not-zeroed",
      at(5, down),
      /1 of 384 bytes differ, the first at byte 383/,
      (c) => flip(get(c.out, at(5, down)).bytes, 383),
    ],
    [
      "minus zero",
      "F16",
      "not-zeroed",
      at(5, down),
      /1 of 192 bytes differ, the first at byte 1$/,
      (c) => get(c.out, at(5, down)).bytes.map((v, i) => (i === 1 ? 0x80 : v)),
    ],
    [
      "the average of another pair",
      "BF16",
      "wrong-average",
      at(2, up),
      /holds the mean of model.layers.0.mlp.up_proj.weight, model.layers.1.mlp.up_proj.weight/,
      (c) => mean(pair(c, 0, 1)),
    ],
    [
      "the other reading of the final block",
      "F32",
      "wrong-average",
      at(7, up),
      /mean of model.layers.5.*model.layers.6.*model.layers.7/,
      (c) => mean([5, 6, 7].map((i) => get(c.base, at(i, up)))),
    ],
    [
      "a copy where a mean belongs",
      "F16",
      "not-averaged",
      at(2, up),
      /expected the weighted sum.*holds model.layers.1.mlp/,
      (c) => get(c.base, at(1, up)).bytes,
    ],
    [
      "an F32 average rounded to BF16",
      "F32",
      "rounded-average",
      at(2, up),
      /rounded to BF16 on the way/,
      (c) =>
        encode(
          "F32",
          decode("BF16", encode("BF16", floats({ ...get(c.base, at(1, up)), bytes: mean(pair(c, 1, 2)) }))),
        ),
    ],
    [
      "a BF16 average cut off",
      "BF16",
      "rounded-average",
      at(2, up),
      /cut off instead of rounded/,
      (c) => cutOff(pair(c, 1, 2).map(floats)),
    ],
    [
      "zeros where weights belong",
      "BF16",
      "unexpected-zeros",
      "lm_head.weight",
      /expected a copy of lm_head.weight, it holds zeros/,
      (c) => new Uint8Array(get(c.out, "lm_head.weight").bytes.length),
    ],
    [
      "one bit of a copy",
      "BF16",
      "different-bytes",
      "model.embed_tokens.weight",
      /1 of 320 bytes differ, the first at byte 17/,
      (c) => flip(get(c.out, "model.embed_tokens.weight").bytes, 17),
    ],
    [
      "one bit of an average",
      "F32",
      "different-bytes",
      at(7, "input_layernorm.weight"),
      /1 of 32 bytes differ, the first at byte 4/,
      (c) => flip(get(c.out, at(7, "input_layernorm.weight")).bytes, 4),
    ],
  ];

  function cutOff(sources: number[][]): Uint8Array {
    const view = new DataView(new ArrayBuffer(4));
    const [a, b] = sources as [number[], number[]];
    return Uint8Array.from(
      a.flatMap((x, i) => {
        view.setFloat32(0, (x + (b[i] as number)) / 2);
        return [view.getUint8(1), view.getUint8(0)];
      }),
    );
  }

  test.each(tampers)("%s, %s: %s", async (_what, dtype, code, name, says, change) => {
    for (const forge of [false, true]) {
      const copy = await copyOf(dtype);
      const bytes = change(copy);
      expect(bytes).not.toEqual(get(copy.out, name).bytes);
      copy.out.set(name, { ...get(copy.out, name), bytes });
      await store(copy, forge);
      for (const options of [{}, { plan: copy.plan }]) {
        const report = await verifyIn(copy.dir, options);
        expect(report.ok).toBe(false);
        expect(codes(report)).toEqual([[code, name]]);
        expect(report.problems[0]?.message).toMatch(says);
      }
    }
  });

  test("two blocks exchanged: every tensor that differs is named", async () => {
    const copy = await copyOf("BF16");
    const one = [...copy.out].filter(([name]) => name.startsWith("model.layers.3."));
    for (const [name, tensor] of one) {
      const other = name.replace(".3.", ".4.");
      copy.out.set(name, get(copy.out, other));
      copy.out.set(other, tensor);
    }
    await store(copy, true);
    const report = await verifyIn(copy.dir);
    expect(report.problems).toHaveLength(18);
    expect(new Set(report.problems.map((problem) => problem.code))).toEqual(new Set(["wrong-block"]));
  });

  test("missing and extra tensors, a wrong shape, a wrong dtype", async () => {
    const copy = await copyOf("BF16");
    copy.out.delete(at(1, up));
    copy.out.set(at(9, up), get(copy.out, at(0, up)));
    copy.out.set(at(2, up), { ...get(copy.out, at(2, up)), shape: [8, 12] });
    copy.out.set(at(3, up), { ...get(copy.out, at(3, up)), dtype: "F16" });
    await store(copy, false);
    expect(codes(await verifyIn(copy.dir))).toEqual([
      ["extra-tensor", at(9, up)],
      ["missing-tensor", at(1, up)],
      ["wrong-shape", at(2, up)],
      ["wrong-dtype", at(3, up)],
    ]);
  });
});
