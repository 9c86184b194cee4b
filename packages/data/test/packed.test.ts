import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DocumentReader, expandPath } from "@slayer/data";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures, readJson } from "./fixtures.js";

const packed = `${fixtures}packed/`;
const { texts } = readJson<{ texts: string[] }>("packed/texts.json");

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "packed-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

async function read(file: string): Promise<{ texts: string[]; lines: number[]; reader: DocumentReader }> {
  const reader = new DocumentReader([file]);
  const documents = [];
  for await (const document of reader) documents.push(document);
  return { texts: documents.map(({ text }) => text), lines: documents.map(({ line }) => line), reader };
}

function write(name: string, bytes: Uint8Array): string {
  const file = join(folder, name);
  writeFileSync(file, bytes);
  return file;
}

describe("Parquet files as pyarrow writes them", () => {
  it.each(["snappy", "gzip", "zstd", "brotli", "lz4", "none", "plain"])(
    "%s: all texts, the null is a bad record",
    async (codec) => {
      const { texts: found, lines, reader } = await read(`${packed}texts.${codec}.parquet`);
      expect(found).toEqual(texts);
      expect(lines).toEqual(texts.map((_, i) => i + 1));
      expect(reader.bad).toEqual([
        { file: `${packed}texts.${codec}.parquet`, line: texts.length + 1, reason: 'field "text" is not a string' },
      ]);
    },
  );

  it("cut or damaged anywhere: read, or refused with the file named; no other error", async () => {
    const whole = readFileSync(`${packed}texts.zstd.parquet`);
    let refused = 0;
    for (let at = 0; at < whole.length; at += 97) {
      const damaged = Buffer.from(whole);
      damaged[at] = damaged[at]! ^ 0xff;
      for (const bytes of [whole.subarray(0, at), damaged]) {
        const file = write("damaged.parquet", bytes);
        await read(file).catch((error: unknown) => {
          refused++;
          expect(error).toMatchObject({ file });
          expect(["bad-parquet", "too-large"]).toContain((error as { code: string }).code);
        });
      }
    }
    expect(refused).toBeGreaterThan(whole.length / 97);
  });

  it("metadata that claims more than 64 MiB is not allocated", async () => {
    const whole = readFileSync(`${packed}texts.none.parquet`);
    whole.writeUInt32LE(2 ** 31, whole.length - 8);
    await expect(read(write("huge.parquet", whole))).rejects.toMatchObject({ code: "too-large" });
  });

  it("a file that was cut is told so, whatever bytes it ends with", async () => {
    const cut = Buffer.concat([readFileSync(`${packed}texts.none.parquet`).subarray(0, 300), Buffer.alloc(8, 0x65)]);
    for (const bytes of [cut, Buffer.alloc(0)]) {
      await expect(read(write("cut.parquet", bytes))).rejects.toMatchObject({ code: "bad-parquet" });
    }
  });
});

describe("Zstandard files", () => {
  it("several frames, with and without checksum and size, a skippable one between them", async () => {
    expect((await read(`${packed}texts.jsonl.zst`)).texts).toEqual(texts);
  });

  it("cut anywhere: an error, or (between frames) the lines before", async () => {
    const whole = readFileSync(`${packed}texts.jsonl.zst`);
    let refused = 0;
    for (let end = 1; end < whole.length; end += 7) {
      const file = write("cut.jsonl.zst", whole.subarray(0, end));
      const found = await read(file).catch((error: unknown) => {
        refused++;
        expect(error).toMatchObject({ code: "bad-zstd", file });
        return undefined;
      });
      if (found !== undefined) expect(found.texts).toEqual(texts.slice(0, 10));
    }
    expect(refused).toBeGreaterThan(20);
    await expect(read(write("no.jsonl.zst", Buffer.from("no zstd")))).rejects.toMatchObject({ code: "bad-zstd" });
  });

  it("a window of 2 GiB is not allocated; a frame of a GiB of zeros stops at the record's limit", async () => {
    // Frame header: no size, window descriptor 21 << 3 (2^31 bytes).
    const huge = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00]);
    await expect(read(write("huge.jsonl.zst", huge))).rejects.toMatchObject({ code: "too-large" });
    // RLE blocks of 128 KiB: 4 bytes each.
    const block = Buffer.from([0x02, 0x00, 0x10, 0x30]);
    const bomb = Buffer.concat([
      Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 10 << 3]),
      ...Array<Buffer>(8192).fill(block),
    ]);
    await expect(read(write("bomb.jsonl.zst", bomb))).rejects.toMatchObject({ code: "too-large", line: 1 });
  });
});

describe("paths and patterns", () => {
  it("a pattern gives sorted files, of the first directory that has any; a name with brackets is itself", async () => {
    for (const name of ["one/b.jsonl", "one/a.jsonl", "one/deep/c.jsonl", "two/a.txt", "two/[x].txt", "two/x.txt"]) {
      mkdirSync(join(folder, name, ".."), { recursive: true });
      write(name, Buffer.from("x"));
    }
    const directories = [join(folder, "one"), join(folder, "two")];
    const names = async (pattern: string): Promise<string[]> =>
      (await expandPath(pattern, directories)).map((file) => file.slice(folder.length + 1));
    expect(await names("*.jsonl")).toEqual(["one/a.jsonl", "one/b.jsonl"]);
    expect(await names("**/*.jsonl")).toEqual(["one/a.jsonl", "one/b.jsonl", "one/deep/c.jsonl"]);
    expect(await names("{a,x}.txt")).toEqual(["two/a.txt", "two/x.txt"]);
    expect(await names("[x].txt")).toEqual(["two/[x].txt"]);
    expect(await names(join(folder, "one", "*.jsonl"))).toEqual(["one/a.jsonl", "one/b.jsonl"]);
    await expect(expandPath("*.parquet", directories)).rejects.toMatchObject({
      code: "missing-file",
      file: "*.parquet",
      message: expect.stringContaining(`looked in ${directories.join(" and in ")}`),
    });
    await expect(expandPath("deep", directories)).rejects.toThrow(
      "a directory: name the files in it, as with deep/*.jsonl",
    );
  });
});
