import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import {
  type Batch,
  Batches,
  boundaryOf,
  Corpus,
  DataError,
  type Position,
  type SourceSpec,
  StreamedBatches,
  type StreamedSource,
  Tokenizer,
} from "@slayer/data";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fixtures } from "./fixtures.js";

const directory = join(fixtures, "llama2-metaspace");
let dir: string;
let tokenizer: Tokenizer;
let sources: { texts: string[]; spec: SourceSpec }[];

/** Texts of 0 to some 60 tokens, each its own. */
const texts = (name: string, count: number): string[] =>
  Array.from({ length: count }, (_, i) => (i % 7 === 3 ? "" : `${name} ${i}: ${"the baker baked it. ".repeat(i % 4)}`));

const lines = (records: readonly object[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join("");

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-streamed-"));
  tokenizer = await Tokenizer.load(directory);
  const [a, b, c] = [texts("math", 23), texts("algebra", 9), texts("code", 31)];
  const file = async (name: string, content: string | Buffer): Promise<string> => {
    await writeFile(join(dir, name), content);
    return join(dir, name);
  };
  const math = [
    await file("a.jsonl", lines(a.map((text) => ({ text })))),
    await file("b.jsonl.gz", gzipSync(lines(b.map((text) => ({ text }))))),
    await file("c.txt", "One long text. ".repeat(30)),
  ];
  // Blank lines and a record without the field are passed over.
  const code = [await file("d.jsonl", `\n${lines([{ no: "text" }])}\n${lines(c.map((content) => ({ content })))}`)];
  sources = [
    { texts: [...a, ...b, "One long text. ".repeat(30)], spec: { files: math, read: { kind: "text", field: "text" } } },
    { texts: c, spec: { files: code, read: { kind: "text", field: "content" } } },
  ];
});
afterAll(() => rm(dir, { recursive: true, force: true }));

type Mode = "concatenate" | "documents";

const settings = (mode: Mode, batchSize = 2, sequenceLength = 24) => ({
  ...{ mode, batchSize, sequenceLength, boundary: boundaryOf(tokenizer) },
});

const open = (streams: readonly StreamedSource[], mode: Mode, position?: Position, batchSize = 2) =>
  StreamedBatches.open(streams, settings(mode, batchSize), { tokenizer, directory }, position);

/** The same texts, tokenized first, and in no other order. */
async function inMemory(joined: boolean, mode: Mode): Promise<Batches> {
  const corpora = await Promise.all(
    (joined ? [sources.flatMap(({ texts: all }) => all)] : sources.map(({ texts: all }) => all)).map((all) =>
      Corpus.build(
        all.map((text) => ({ text })),
        tokenizer,
      ),
    ),
  );
  const shuffle = { documents: false, sequences: false };
  const weighted = corpora.map((source, i) => ({ source, weight: joined ? 1 : 5 - 3 * i }));
  return new Batches(weighted, { ...settings(mode), shuffle, seed: 1 });
}

const streamsOf = (joined: boolean): StreamedSource[] =>
  joined
    ? [{ specs: sources.map(({ spec }) => spec), weight: 1 }]
    : sources.map(({ spec }, i) => ({ specs: [spec], weight: 5 - 3 * i }));

async function take(batches: StreamedBatches, count: number): Promise<Batch[]> {
  const found: Batch[] = [];
  for (let i = 0; i < count; i++) found.push(await batches.next());
  return found;
}

describe("streamed batches", () => {
  it.each([
    ["concatenate", true],
    ["concatenate", false],
    ["documents", true],
    ["documents", false],
  ] as const)(
    "%s, sources one after another: %s: equal the tokenized ones that are not shuffled, over several passes, from the beginning and from positions",
    async (mode, joined) => {
      const reference = await inMemory(joined, mode);
      const count = Math.ceil((2.5 * reference.sequencesPerEpoch) / 2);
      const expected = Array.from({ length: count }, () => reference.next()!);
      const stream = await open(streamsOf(joined), mode);
      const positions: Position[] = [];
      for (const batch of expected) {
        positions.push(JSON.parse(JSON.stringify(stream.position())) as Position);
        expect(await stream.next()).toEqual(batch);
      }
      expect(Math.max(...stream.epochs())).toBeGreaterThanOrEqual(2);
      await stream.close();
      for (const [i, position] of positions.entries()) {
        if (![1, Math.floor(count / 3), count - 2].includes(i)) continue;
        const resumed = await open(streamsOf(joined), mode, position);
        expect(resumed.position()).toEqual(position);
        expect(await take(resumed, Math.min(3, count - i))).toEqual(expected.slice(i, i + 3));
        await resumed.close();
      }
    },
  );

  it("batch size may change; files, weights and packing may not; a position in tokenized files is none", async () => {
    const stream = await open(streamsOf(false), "documents");
    const [first] = await take(stream, 1);
    const position = stream.position();
    const rest = await take(stream, 2);
    await stream.close();
    const wider = await open(streamsOf(false), "documents", position, 4);
    const [four] = await take(wider, 1);
    await wider.close();
    expect([...four!.inputIds]).toEqual(rest.flatMap(({ inputIds }) => [...inputIds]));
    expect(first!.inputIds).not.toEqual(rest[0]!.inputIds);

    await expect(open(streamsOf(false), "concatenate", position)).rejects.toThrow("mode changed");
    await expect(open(streamsOf(true), "documents", position)).rejects.toThrow("the corpora and their weights changed");
    const file = sources[1]!.spec.files[0]!;
    const content = await readFile(file);
    await writeFile(file, Buffer.concat([content, Buffer.from("\n")]));
    await expect(open(streamsOf(false), "documents", position)).rejects.toThrow(
      "the corpora and their weights changed",
    );
    await writeFile(file, content);
    const tokenized = await inMemory(false, "documents");
    await expect(open(streamsOf(false), "documents", tokenized.position())).rejects.toThrow(
      "expected a position in a stream",
    );
  });

  it("files before the position are not read again in this pass", async () => {
    const [a] = sources[0]!.spec.files as [string];
    const stream = await open(streamsOf(true), "documents");
    let position = stream.position();
    while (position.sources[0]!.place.file < 2) {
      await stream.next();
      position = stream.position();
    }
    const expected = await take(stream, 2);
    await stream.close();
    const content = await readFile(a);
    await writeFile(a, Buffer.alloc(content.length, "x"));
    const resumed = await open(streamsOf(true), "documents", position);
    expect(await take(resumed, 2)).toEqual(expected);
    expect(resumed.reports()[0]!.bad.filter((record) => record.file === a)).toEqual([]);
    await resumed.close();
    await writeFile(a, content);
  });

  it("bad records are counted and named; more than their share, or no text at all, is an error", async () => {
    const file = join(dir, "bad.jsonl");
    await writeFile(file, `${lines([{ text: "good" }])}not JSON\n${lines([{ text: "and good" }])}`);
    const streams: StreamedSource[] = [
      { specs: [{ files: [file], read: { kind: "text", field: "text" } }], weight: 1 },
    ];
    const stream = await open(streams, "documents");
    await take(stream, 1);
    const { badRecords, bad } = stream.reports()[0]!;
    expect(badRecords).toBeGreaterThanOrEqual(1);
    expect(bad[0]).toMatchObject({ file, line: 2 });
    await stream.close();

    const options = { tokenizer, directory, maxBadShare: 0.1 };
    const strict = await StreamedBatches.open(streams, settings("documents"), options);
    await expect(take(strict, 1)).rejects.toThrow("1 of 3 records cannot be read, more than a share of 0.1");
    await strict.close();

    for (const nothing of ["", lines([{ text: "" }])]) {
      await writeFile(file, nothing);
      const empty = await open(streams, "documents");
      await expect(take(empty, 1)).rejects.toThrow("expected at least one document with text");
      await empty.close();
    }
    await rm(file);
    await expect(open(streams, "documents")).rejects.toThrow(DataError);
  });
});
