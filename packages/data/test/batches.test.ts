import {
  type Batch,
  Batches,
  type BatchSettings,
  boundaryOf,
  Corpus,
  DataError,
  type Position,
  Tokenizer,
  trainBpe,
} from "@slayer/data";
import fc from "fast-check";
import { describe, expect, it } from "vitest";

const EOS = 1;
const BOS = 0;
const files = trainBpe([], { vocabSize: 258 });
const tokenizer = Tokenizer.parse(JSON.stringify(files.tokenizerJson), files.tokenizerConfig);

/** Documents as their bytes: no two begin alike, so that each can be found again in a packed stream. */
const anyDocuments = fc
  .array(fc.string({ maxLength: 12 }), { minLength: 1, maxLength: 12 })
  .map((texts) => texts.map((text, i) => `${i}:${text}`));
const anySettings: fc.Arbitrary<BatchSettings> = fc.record({
  sequenceLength: fc.integer({ min: 1, max: 17 }),
  batchSize: fc.integer({ min: 1, max: 4 }),
  mode: fc.constantFrom("concatenate" as const, "documents" as const),
  boundary: fc.constantFrom({ after: EOS }, { before: BOS }, { before: BOS, after: EOS }),
  shuffle: fc.record({ documents: fc.boolean(), sequences: fc.boolean() }),
  seed: fc.maxSafeNat(),
  epochs: fc.integer({ min: 1, max: 3 }),
});

const corpusOf = (documents: string[]): Promise<Corpus> =>
  Corpus.build(
    documents.map((text) => ({ text })),
    tokenizer,
  );

function all(batches: Batches): Batch[] {
  const found: Batch[] = [];
  for (let batch = batches.next(); batch !== null; batch = batches.next()) found.push(batch);
  return found;
}

interface Row {
  inputIds: number[];
  targets: number[];
  positions: number[];
  segments: number[];
}

/** The rows with data, in the order given. */
function rowsOf(batches: Batch[]): Row[] {
  return batches.flatMap((batch) =>
    Array.from({ length: batch.sequences }, (_, row) => {
      const part = (array: Int32Array): number[] => [
        ...array.subarray(row * batch.sequenceLength, (row + 1) * batch.sequenceLength),
      ];
      const { inputIds, targets, positions, segments } = batch;
      return { inputIds: part(inputIds), targets: part(targets), positions: part(positions), segments: part(segments) };
    }),
  );
}

/** The documents with their boundary tokens, as they must appear. */
function wrapped(documents: string[], { boundary }: BatchSettings): number[][] {
  const before = boundary.before === undefined ? [] : [boundary.before];
  const after = boundary.after === undefined ? [] : [boundary.after];
  return documents.map((text) => [...before, ...tokenizer.encode(text, { addSpecialTokens: false }), ...after]);
}

const tokensOf = (rows: Row[]): number[] => rows.flatMap((row) => row.inputIds.filter((_, t) => row.segments[t] >= 0));

describe("packing", () => {
  it("every token of every document appears exactly once per epoch, in order (sequences not shuffled)", async () => {
    await fc.assert(
      fc.asyncProperty(anyDocuments, anySettings, async (documents, drawn) => {
        const settings = { ...drawn, shuffle: { ...drawn.shuffle, sequences: false } };
        const batches = new Batches(await corpusOf(documents), settings);
        const rows = rowsOf(all(batches));
        expect(rows.length).toBe(Math.ceil(settings.epochs! * batches.sequencesPerEpoch));
        const expected = wrapped(documents, settings);
        let stream = tokensOf(rows);
        for (let epoch = 0; epoch < settings.epochs!; epoch++) {
          const left = new Set(expected);
          if (!settings.shuffle.documents) expect(stream.slice(0, expected.flat().length)).toEqual(expected.flat());
          while (left.size > 0) {
            const next = [...left].find((document) => document.every((id, i) => stream[i] === id));
            expect(next, "the stream goes on with a whole document").toBeDefined();
            left.delete(next!);
            stream = stream.slice(next!.length);
          }
        }
        expect(stream).toEqual([]);
      }),
    );
  });

  it("shuffling sequences only changes their order, and changes it per epoch", async () => {
    await fc.assert(
      fc.asyncProperty(anyDocuments, anySettings, async (documents, drawn) => {
        const corpus = await corpusOf(documents);
        const inOrder = new Batches(corpus, { ...drawn, epochs: 1, shuffle: { documents: false, sequences: false } });
        const shuffled = new Batches(corpus, { ...drawn, epochs: 1, shuffle: { documents: false, sequences: true } });
        const sorted = (batches: Batches): string[] =>
          rowsOf(all(batches))
            .map((row) => JSON.stringify(row))
            .toSorted();
        expect(sorted(shuffled)).toEqual(sorted(inOrder));
      }),
    );
    const settings = { ...plain, shuffle: { documents: false, sequences: true }, epochs: 2 };
    const batches = new Batches(await corpusOf(["a long enough text to be cut into many short sequences"]), settings);
    const rows = rowsOf(all(batches));
    const half = Math.ceil(batches.sequencesPerEpoch);
    expect(rows.slice(half)).not.toEqual(rows.slice(0, rows.length - half));
  });

  it("a target is the token that follows; every token but the first of a text is a target once", async () => {
    await fc.assert(
      fc.asyncProperty(anyDocuments, anySettings, async (documents, drawn) => {
        const settings = { ...drawn, epochs: 1, shuffle: { documents: false, sequences: false } };
        const rows = rowsOf(all(new Batches(await corpusOf(documents), settings)));
        const stream = wrapped(documents, settings);
        // Without the first token of the one long text, or of each document; -100 stands where it would have been.
        const expected =
          settings.mode === "concatenate"
            ? [...stream.flat().slice(1), -100]
            : stream.flatMap((document) => [...document.slice(1), -100]);
        const targets = rows.flatMap((row) => row.targets);
        expect(targets.slice(0, expected.length)).toEqual(expected);
        expect(targets.slice(expected.length).every((target) => target === -100)).toBe(true);
      }),
    );
  });

  it("positions run on in one segment (concatenate), or restart with every segment (documents)", async () => {
    await fc.assert(
      fc.asyncProperty(anyDocuments, anySettings, async (documents, settings) => {
        for (const row of rowsOf(all(new Batches(await corpusOf(documents), settings)))) {
          const data = row.segments.filter((segment) => segment >= 0);
          if (settings.mode === "concatenate") {
            expect(data.every((segment) => segment === 0)).toBe(true);
            expect(row.positions).toEqual(row.positions.map((_, t) => t));
            continue;
          }
          row.segments.forEach((segment, t) => {
            const isStart = t === 0 || segment !== row.segments[t - 1];
            expect(row.positions[t]).toBe(isStart ? 0 : row.positions[t - 1] + 1);
            if (t > 0 && segment >= 0) expect(segment - row.segments[t - 1]).toBe(isStart ? 1 : 0);
          });
        }
      }),
    );
  });

  it("an example, literally", async () => {
    const corpus = await corpusOf(["ab", "c"]);
    const [a, b, c] = tokenizer.encode("abc", { addSpecialTokens: false });
    const [row] = rowsOf(all(new Batches(corpus, { ...plain, sequenceLength: 6, mode: "documents" })));
    expect(row).toEqual({
      inputIds: [a, b, EOS, c, EOS, EOS],
      targets: [b, EOS, -100, EOS, -100, -100],
      positions: [0, 1, 2, 0, 1, 0],
      segments: [0, 0, 0, 1, 1, -1],
    });
    const [concatenated] = rowsOf(all(new Batches(corpus, { ...plain, sequenceLength: 6 })));
    expect(concatenated).toEqual({
      inputIds: [a, b, EOS, c, EOS, EOS],
      targets: [b, EOS, c, EOS, -100, -100],
      positions: [0, 1, 2, 3, 4, 5],
      segments: [0, 0, 0, 0, 0, -1],
    });
  });
});

describe("resuming", () => {
  it("at any point, through JSON, gives exactly the batches that would have followed", async () => {
    await fc.assert(
      fc.asyncProperty(anyDocuments, anySettings, fc.nat({ max: 20 }), async (documents, settings, steps) => {
        const corpus = await corpusOf(documents);
        const batches = new Batches(corpus, settings);
        for (let i = 0; i < steps; i++) batches.next();
        const position = JSON.parse(JSON.stringify(batches.position())) as Position;
        const resumed = Batches.resume(await corpusOf(documents), settings, position);
        expect(resumed.position()).toEqual(batches.position());
        expect(all(resumed)).toEqual(all(batches));
      }),
    );
  });

  it("another corpus, tokenizer or packing is an error; another batch size is not", async () => {
    const corpus = await corpusOf(["one", "two"]);
    const batches = new Batches(corpus, plain);
    batches.next();
    const position = batches.position();
    const resume = (changed: Corpus, settings: BatchSettings = plain, at: unknown = position): string => {
      try {
        Batches.resume(changed, settings, at as Position);
      } catch (error) {
        return (error as DataError).code;
      }
      return "no error";
    };
    expect(resume(corpus, { ...plain, batchSize: 3, epochs: 9 })).toBe("no error");
    expect(resume(await corpusOf(["one", "twO"]))).toBe("position-mismatch");
    expect(resume(await corpusOf(["two", "one"]))).toBe("position-mismatch");
    expect(resume(await corpusOf(["onet", "wo"]))).toBe("position-mismatch");
    expect(resume(corpus, { ...plain, seed: 2 })).toBe("position-mismatch");
    expect(resume(corpus, { ...plain, boundary: { before: BOS } })).toBe("position-mismatch");
    expect(resume(corpus, plain, { ...position, version: 1 })).toBe("bad-position");
    const [source] = position.sources;
    expect(resume(corpus, plain, { ...position, sources: [{ ...source, sequences: -1 }] })).toBe("bad-position");
    expect(resume(corpus, plain, { ...position, sources: [source, source] })).toBe("position-mismatch");
    expect(resume(corpus, plain, null)).toBe("bad-position");
  });
});

describe("limits and mistakes", () => {
  it("the last batch is filled up with rows that count for nothing", async () => {
    const batches = new Batches(await corpusOf(["0123456789"]), {
      ...plain,
      batchSize: 2,
      epochs: 1,
      sequenceLength: 4,
    });
    const [first, last] = all(batches);
    expect([first.sequences, last.sequences]).toEqual([2, 1]);
    expect(last.inputIds.length).toBe(8);
    expect([...last.targets.subarray(4)]).toEqual([-100, -100, -100, -100]);
    expect([...last.segments.subarray(4)]).toEqual([-1, -1, -1, -1]);
    expect(batches.next()).toBeNull();
  });

  it("corpora: empty documents are left out, none at all and too many tokens are errors", async () => {
    expect((await corpusOf(["", "a", ""])).documents).toBe(1);
    await expect(corpusOf([""])).rejects.toMatchObject({ code: "empty-corpus" });
    await expect(Corpus.build([{ text: "abc" }], tokenizer, { maxTokens: 2 })).rejects.toMatchObject({
      code: "too-large",
    });
  });

  it.each([
    { sequenceLength: 0 },
    { batchSize: 0 },
    { batchSize: 2 ** 28 },
    { epochs: 0 },
    { mode: "else" as "whole" },
    { boundary: {} },
    { seed: -1 },
    { boundary: { after: -1 } },
  ])("refused: %j", async (change) => {
    const corpus = await corpusOf(["a"]);
    expect(() => new Batches(corpus, { ...plain, ...change } as BatchSettings)).toThrow(DataError);
  });

  it("the boundary is the tokenizer's EOS, else its BOS", () => {
    const of = (config: Record<string, unknown>): object =>
      boundaryOf(Tokenizer.parse(JSON.stringify(files.tokenizerJson), config));
    expect(of(files.tokenizerConfig)).toEqual({ after: EOS });
    expect(of({ bos_token: { content: "<|begin_of_text|>" } })).toEqual({ before: BOS });
    expect(() => of({})).toThrow(DataError);
  });
});

const plain: BatchSettings = {
  sequenceLength: 3,
  batchSize: 1,
  mode: "concatenate",
  boundary: { after: EOS },
  shuffle: { documents: false, sequences: false },
  seed: 1,
  epochs: 1,
};
