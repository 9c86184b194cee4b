import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { DocumentReader, isHeldOut, type ReadOptions } from "@slayer/data";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "sources-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, content);
  return file;
}

async function read(files: string[], options?: ReadOptions): Promise<{ texts: string[]; reader: DocumentReader }> {
  const reader = new DocumentReader(files, options);
  const texts: string[] = [];
  for await (const { text } of reader) texts.push(text);
  return { texts, reader };
}

describe("reading documents", () => {
  it("any texts come back from JSONL, plain and gzip, and from text files", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: "binary" }), { maxLength: 8 }), async (texts) => {
        const lines = texts.map((text) => JSON.stringify({ id: 1, content: text })).join("\n");
        const plain = write("a.jsonl", lines);
        const packed = write("a.jsonl.gz", gzipSync(`${lines}\n`));
        expect((await read([plain, packed], { field: "content" })).texts).toEqual([...texts, ...texts]);
        const files = texts.map((text, i) => write(`${i}.txt`, text));
        expect((await read(files)).texts).toEqual(texts);
      }),
      { numRuns: 30 },
    );
  });

  it("lines longer than a chunk, gzip of several members, CRLF, byte order mark, blank lines", async () => {
    const long = "x".repeat(300_000);
    const file = write(
      "long.jsonl.gz",
      Buffer.concat([gzipSync(`\uFEFF{"text": "${long}"}\r\n\r\n`), gzipSync('  \n{"text": "end"}')]),
    );
    const { texts, reader } = await read([file]);
    expect(texts).toEqual([long, "end"]);
    expect(reader.badRecords).toBe(0);
  });

  it("a JSON file is a list of records; anything else in it is an error", async () => {
    const file = write("list.json", JSON.stringify([{ text: "a" }, { text: 3 }, [], { text: "b" }]));
    const { texts, reader } = await read([file, write("list.json.gz", gzipSync('[{"text": "c"}]'))]);
    expect(texts).toEqual(["a", "b", "c"]);
    expect(reader.bad.map(({ line, reason }) => `${line} ${reason}`)).toEqual([
      '2 field "text" is not a string',
      "3 not an object",
    ]);
    await expect(read([write("object.json", '{"text": "a"}')])).rejects.toMatchObject({ code: "bad-json" });
    await expect(read([write("broken.json", "[")])).rejects.toMatchObject({ code: "bad-json" });
    await expect(read([file], { maxRecordBytes: 10 })).rejects.toMatchObject({ code: "too-large" });
  });

  it("records without a text are counted and reported with file and line", async () => {
    const file = write(
      "bad.jsonl",
      Buffer.concat([
        Buffer.from('{"text": "ok"}\n{"text": 3}\n{"other": "x"}\nnot json\n[1]\nnull\n{"text": "'),
        Buffer.from([0xff]),
        Buffer.from('"}\n{"text": "last"}\n{"__proto__": {"text": "no"}}'),
      ]),
    );
    const { texts, reader } = await read([file]);
    expect(texts).toEqual(["ok", "last"]);
    expect(reader.badRecords).toBe(7);
    expect(reader.bad.every((record) => record.file === file)).toBe(true);
    expect(reader.bad.map(({ line, reason }) => `${line} ${reason.split(":")[0]}`)).toEqual([
      '2 field "text" is not a string',
      '3 no field "text"',
      "4 not JSON",
      "5 not an object",
      "6 not an object",
      "7 not UTF-8",
      '9 no field "text"',
    ]);
  });

  it("documents know their file and line, and reading may stop early", async () => {
    const file = write("where.jsonl", '\n{"text": "a"}\n{"text": "b"}\n');
    for await (const document of new DocumentReader([file])) {
      expect(document).toEqual({ text: "a", file, line: 2 });
      break;
    }
  });

  it("errors name the file: missing, folder, too long, broken gzip, not UTF-8", async () => {
    const missing = join(folder, "missing.txt");
    await expect(read([missing])).rejects.toMatchObject({ code: "missing-file", file: missing });
    await expect(read([folder], { format: "text" })).rejects.toMatchObject({ code: "unsupported", file: folder });
    const long = write("toolong.jsonl", `{"text": "a"}\n{"text": "${"b".repeat(100)}"}\n`);
    await expect(read([long], { maxRecordBytes: 50 })).rejects.toMatchObject({
      code: "too-large",
      file: long,
      line: 2,
    });
    const bomb = write("bomb.txt.gz", gzipSync(Buffer.alloc(10_000_000)));
    await expect(read([bomb], { maxRecordBytes: 1_000_000 })).rejects.toMatchObject({ code: "too-large", file: bomb });
    const whole = gzipSync("some text that is long enough to be cut");
    for (const bytes of [whole.subarray(0, 20), Buffer.from("no gzip at all")]) {
      await expect(read([write("broken.txt.gz", bytes)])).rejects.toMatchObject({ code: "bad-gzip" });
    }
    await expect(read([write("latin1.txt", Buffer.from([0x61, 0xe9]))])).rejects.toMatchObject({ code: "bad-utf8" });
  });

  it("formats that are not read say so before anything is read", () => {
    expect(() => new DocumentReader(["folder.d/a"])).toThrow(/unknown extension "\."/);
    expect(() => new DocumentReader(["a.csv.gz"])).toThrow(/unknown extension "\.csv": expected \.txt/);
    expect(() => new DocumentReader(["a.parquet.gz"])).toThrow(/compressed inside/);
    expect(new DocumentReader(["a.ts"], { format: "text" }).files).toEqual(["a.ts"]);
  });

  it("bad records up to the stated share are left out; one more is an error that names the first", async () => {
    const lines = Array.from({ length: 50 }, (_, i) => (i % 10 === 3 ? "{}" : '{"text": "good"}'));
    const file = write("share.jsonl", lines.join("\n"));
    const { texts, reader } = await read([file], { maxBadShare: 0.1 });
    expect([texts.length, reader.records, reader.badRecords]).toEqual([45, 50, 5]);
    await expect(read([file], { maxBadShare: 0.099 })).rejects.toMatchObject({
      code: "bad-records",
      file,
      line: 4,
      message: expect.stringContaining(
        '5 of 50 records cannot be read, more than a share of 0.099; the first: no field "text"',
      ),
    });
  });
});

describe("held-out documents", () => {
  it("are about the share asked for: 5,000 texts, 10 % ± 2 %", () => {
    const texts = Array.from({ length: 5000 }, (_, i) => `document ${i}`);
    const held = texts.filter((text) => isHeldOut(text, 0.1));
    expect(Math.abs(held.length / 5000 - 0.1)).toBeLessThan(0.02);
  });

  it("of a share are also held out at any larger one; 0 holds out none and 1 all", () => {
    const share = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(fc.string(), share, share, (text, a, b) => {
        if (isHeldOut(text, Math.min(a, b))) expect(isHeldOut(text, Math.max(a, b))).toBe(true);
        expect([isHeldOut(text, 0), isHeldOut(text, 1)]).toEqual([false, true]);
      }),
    );
  });

  it("go by SHA-256: 'abc' is ba7816bf8f01…, 0.72839 of the way (FIPS 180-2, B.1)", () => {
    expect([isHeldOut("abc", 0.7283), isHeldOut("abc", 0.7284)]).toEqual([false, true]);
    expect(() => isHeldOut("abc", 1.1)).toThrow(/share: expected 0 … 1/);
  });
});
