import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { beforeAll, describe, expect, it } from "vitest";

import { decodeToF32, isFloatDtype, readHeader } from "@slayer/checkpoint";

import { entry, failure, fileBytes, put, scratch } from "./files.js";

let dir: string;
beforeAll(async () => {
  dir = await scratch();
});

const golden = (name: string): string => fileURLToPath(new URL(`./golden/${name}`, import.meta.url));

describe("readHeader", () => {
  it("gives absolute byte ranges, in the order of the bytes", async () => {
    const header = { __metadata__: { format: "pt" }, b: entry("F32", [2], 4, 12), a: entry("BF16", [2, 1], 0, 4) };
    const bytes = fileBytes(header, 12);
    const file = await put(dir, "good", bytes);
    const { tensors, metadata, dataBegin } = await readHeader(file);
    expect(metadata).toEqual({ format: "pt" });
    expect(dataBegin).toBe(bytes.length - 12);
    expect([...tensors.values()]).toEqual([
      { name: "a", dtype: "BF16", shape: [2, 1], file, begin: dataBegin, end: dataBegin + 4 },
      { name: "b", dtype: "F32", shape: [2], file, begin: dataBegin + 4, end: dataBegin + 12 },
    ]);
  });

  it.each([
    ["no tensor", {}, 0, 0],
    ["a scalar", { a: entry("F64", [], 0, 8) }, 8, 1],
    [
      "an empty tensor between others",
      { a: entry("U8", [2], 0, 2), b: entry("F32", [0, 7], 2, 2), c: entry("U8", [1], 2, 3) },
      3,
      3,
    ],
    ["an empty tensor with a huge other side", { a: entry("F32", [0, 2 ** 52], 0, 0) }, 0, 1],
    [
      "names like numbers and like object members",
      { 7: entry("U8", [1], 1, 2), constructor: entry("U8", [1], 0, 1) },
      2,
      2,
    ],
    ["the name __proto__", `{"__proto__":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, 1],
    ["padding after the header", `{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}      `, 1, 1],
    ["keys it does not know", { a: { ...entry("U8", [1], 0, 1), note: "x" } }, 1, 1],
    ["the same key in different objects", `{"dtype":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 1, 1],
    ["quotes and colons inside names", { '"a":\\': entry("U8", [1], 0, 1), '"a":': entry("U8", [1], 1, 2) }, 2, 2],
  ])("accepts %s", async (_title, header, dataBytes, count) => {
    const file = await put(dir, "fine", fileBytes(header, dataBytes));
    expect((await readHeader(file)).tensors.size).toBe(count);
  });

  it("reads a file of the Python package: names, shapes, bytes and values", async () => {
    const file = golden("python.safetensors");
    const expected = JSON.parse(await readFile(golden("python.json"), "utf8"));
    const { tensors } = await readHeader(file);
    const bytes = await readFile(file);
    expect([...tensors.keys()].sort()).toEqual(Object.keys(expected).sort());
    for (const [name, { dtype, shape, begin, end }] of tensors) {
      expect(shape).toEqual(expected[name].shape);
      expect(bytes.subarray(begin, end).toString("hex")).toBe(expected[name].bytes);
      if (expected[name].values === null || !isFloatDtype(dtype)) continue;
      const values = expected[name].values.map((v: string) => Number(v.replace("inf", "Infinity")));
      expect([...decodeToF32(bytes.subarray(begin, end), dtype)]).toEqual(values);
    }
    expect(expected["a BF16"].values.length).toBe(12);
  });
});

/** One byte of U8 data unless said otherwise. */
const ONE = entry("U8", [1], 0, 1);
const BIG = Number.MAX_SAFE_INTEGER;

const MALFORMED: [title: string, code: string, tensor: string | undefined, bytes: Uint8Array][] = [
  ["an empty file", "truncated", undefined, new Uint8Array(0)],
  ["seven bytes", "truncated", undefined, new Uint8Array(7)],
  ["a header longer than the file", "header-too-long", undefined, fileBytes({ a: ONE }, 1, 500n)],
  ["a header of 100,000,001 bytes", "header-too-long", undefined, fileBytes("", 0, 100_000_001n)],
  ["a header of 2^64 - 1 bytes", "header-too-long", undefined, fileBytes("", 0, 2n ** 64n - 1n)],
  ["a header of length 0", "bad-header-json", undefined, fileBytes("", 4)],
  ["a cut header", "bad-header-json", undefined, fileBytes('{"a":', 0)],
  ["an array for a header", "bad-header-json", undefined, fileBytes("[]", 0)],
  ["invalid UTF-8", "bad-header-json", undefined, fileBytes("{}", 0).map((byte, i) => (i === 9 ? 0xff : byte))],
  ["a byte order mark", "bad-header-json", undefined, fileBytes("\ufeff{}", 0)],
  ["a million open brackets", "bad-header-json", undefined, fileBytes("[".repeat(1e6), 0)],
  ["a million nested arrays", "bad-header-json", undefined, fileBytes("[".repeat(1e6) + "]".repeat(1e6), 0)],
  ["metadata that are no strings", "bad-header-json", undefined, fileBytes({ __metadata__: { a: 1 } }, 0)],
  ["an entry without shape", "bad-header-json", "a", fileBytes({ a: { dtype: "U8", data_offsets: [0, 1] } }, 1)],
  ["an entry that is a number", "bad-header-json", "a", fileBytes({ a: 1 }, 0)],
  ["three offsets", "bad-header-json", "a", fileBytes({ a: { dtype: "U8", shape: [1], data_offsets: [0, 1, 1] } }, 1)],
  ["a negative size", "bad-header-json", "a", fileBytes({ a: entry("U8", [-1], 0, 1) }, 1)],
  ["a broken size", "bad-header-json", "a", fileBytes({ a: entry("U8", [1.5], 0, 1) }, 1)],
  [
    "NaN for a size",
    "bad-header-json",
    undefined,
    fileBytes('{"a":{"dtype":"U8","shape":[NaN],"data_offsets":[0,1]}}', 1),
  ],
  ["an unknown dtype", "wrong-dtype", "a", fileBytes({ a: entry("F12", [1], 0, 1) }, 1)],
  ["a dtype named like an object member", "wrong-dtype", "a", fileBytes({ a: entry("toString", [1], 0, 1) }, 1)],
  ["a shape larger than its bytes", "size-mismatch", "a", fileBytes({ a: entry("F32", [2], 0, 4) }, 4)],
  ["a shape smaller than its bytes", "size-mismatch", "a", fileBytes({ a: entry("F16", [1], 0, 4) }, 4)],
  ["a shape beyond 2^53 elements", "size-overflow", "a", fileBytes({ a: entry("U8", [2 ** 27, 2 ** 27], 0, 1) }, 1)],
  [
    "a shape whose 64-bit product is 0",
    "size-overflow",
    "a",
    fileBytes({ a: entry("U8", [2 ** 32, 2 ** 32], 0, 0) }, 0),
  ],
  ["more than 2^53 bytes", "size-overflow", "a", fileBytes({ a: entry("F64", [2 ** 51], 0, 1) }, 1)],
  ["a size beyond 2^53", "size-overflow", "a", fileBytes({ a: entry("U8", [2 ** 53], 0, 1) }, 1)],
  [
    "an infinite size",
    "bad-header-json",
    "a",
    fileBytes('{"a":{"dtype":"U8","shape":[1e999],"data_offsets":[0,1]}}', 1),
  ],
  ["an offset beyond 2^53", "size-overflow", "a", fileBytes({ a: entry("U8", [1], 2 ** 60, 2 ** 60 + 1) }, 1)],
  ["an end beyond the data", "offset-out-of-range", "a", fileBytes({ a: entry("U8", [2], 0, 2) }, 1)],
  ["an end far beyond the data", "offset-out-of-range", "a", fileBytes({ a: entry("U8", [1], BIG - 1, BIG) }, 1)],
  [
    "a tensor beyond the data, named although it leaves a hole before its neighbour",
    "offset-out-of-range",
    "b",
    fileBytes({ a: ONE, b: entry("U8", [1], 9, 10), c: entry("U8", [1], 2, 3) }, 3),
  ],
  ["a negative begin", "offset-out-of-range", "a", fileBytes({ a: entry("U8", [2], -1, 1) }, 1)],
  ["an end before the begin", "offset-out-of-range", "a", fileBytes({ a: entry("U8", [1], 1, 0) }, 1)],
  ["a broken offset", "offset-out-of-range", "a", fileBytes({ a: entry("U8", [1], 0.5, 1.5) }, 2)],
  [
    "overlapping tensors",
    "overlapping-offsets",
    "b",
    fileBytes({ a: entry("U8", [2], 0, 2), b: entry("U8", [2], 1, 3) }, 3),
  ],
  ["two tensors on the same bytes", "overlapping-offsets", "b", fileBytes({ a: ONE, b: ONE }, 1)],
  ["a hole between tensors", "gap", "b", fileBytes({ a: ONE, b: entry("U8", [1], 2, 3) }, 3)],
  ["a hole before the first", "gap", "a", fileBytes({ a: entry("U8", [1], 1, 2) }, 2)],
  ["an empty tensor apart from the others", "gap", "b", fileBytes({ a: ONE, b: entry("U8", [0], 9, 9) }, 9)],
  ["bytes after the last tensor", "trailing-bytes", undefined, fileBytes({ a: ONE }, 2)],
  ["a name twice", "duplicate-key", "a", fileBytes(`{"a":${JSON.stringify(ONE)},"a":${JSON.stringify(ONE)}}`, 1)],
  [
    "a name twice, spelt differently",
    "duplicate-key",
    "a",
    fileBytes(`{"a":${JSON.stringify(ONE)}, "\\u0061" :${JSON.stringify(ONE)}}`, 1),
  ],
  [
    "a key of an entry twice",
    "duplicate-key",
    "a",
    fileBytes('{"a":{"dtype":"U8","shape":[1],"shape":[1],"data_offsets":[0,1]}}', 1),
  ],
  ["metadata twice", "duplicate-key", "__metadata__", fileBytes('{"__metadata__":{},"__metadata__":{}}', 0)],
];

describe("readHeader refuses, with a typed error naming file and tensor,", () => {
  it.each(MALFORMED)("%s: %s", async (_title, code, tensor, bytes) => {
    const file = await put(dir, "bad.safetensors", bytes);
    const error = await failure(() => readHeader(file));
    expect({ code: error.code, tensor: error.tensor, file: error.file }).toEqual({ code, tensor, file });
    expect(error.message).toContain(file);
    if (tensor !== undefined) expect(error.message).toContain(tensor);
  });

  it("every proper prefix of a good file", async () => {
    const bytes = fileBytes({ a: entry("F32", [2, 2], 0, 16), b: entry("F16", [3], 16, 22) }, 22);
    const codes = new Set<string>();
    for (let length = 0; length < bytes.length; length++) {
      const file = await put(dir, "cut.safetensors", bytes.subarray(0, length));
      codes.add((await failure(() => readHeader(file))).code);
    }
    expect([...codes].sort()).toEqual(["header-too-long", "offset-out-of-range", "truncated"]);
  });

  it("a path that is missing, a directory, or a pipe that would never answer", async () => {
    expect((await failure(() => readHeader(join(dir, "none")))).code).toBe("missing-file");
    expect((await failure(() => readHeader(dir))).code).toBe("not-a-file");
    if (process.platform === "win32") return;
    const pipe = join(dir, "pipe");
    execFileSync("mkfifo", [pipe]);
    expect((await failure(() => readHeader(pipe))).code).toBe("not-a-file");
  });
});
