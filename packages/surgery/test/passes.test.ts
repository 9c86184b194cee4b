import fc from "fast-check";
import { expect, test } from "vitest";
import type { Pass } from "../src/passes.js";
import { planPasses, steps } from "../src/passes.js";
import type { TensorTask } from "../src/tasks.js";

/** `c: 1 2` is c made of 1 and 2 in equal parts, `c: 1` a copy, `c:` zeros. */
function task(text: string, bytes = 10_000): TensorTask {
  const [name = "", rest = ""] = text.split(":");
  const from = rest.split(" ").filter((tensor) => tensor !== "");
  const sources = from.map((tensor) => ({ tensor, weight: 1 / from.length }));
  return { name, dtype: "F32", shape: [bytes / 4], bytes, sources, zeroed: from.length === 0 };
}

const brief = (passes: readonly Pass[]): string[] =>
  passes.map(({ sources, outputs }) => `${sources.join(" ")} -> ${outputs.map((output) => output.name).join(" ")}`);

test("what an average ties together is read together; copies go with their source, zeros alone", () => {
  const tasks = ["a: 0", "b: 1", "c: 1 2", "d:", "e: 2", "f: 3", "g: 5 4", "h: 3", "i: 4 6 7"].map((text) =>
    task(text),
  );
  expect(brief(planPasses(tasks))).toEqual(["0 -> a", "1 2 -> b c e", " -> d", "3 -> f h", "5 4 6 7 -> g i"]);
});

test("a chain of averages is one pass, in whatever order its links come", () => {
  const links = ["0 1", "2 3", "1 2", "4 5", "3 4"].map((from, i) => task(`${i}:${from}`));
  expect(brief(planPasses(links))).toEqual(["0 1 2 3 4 5 -> 0 1 2 3 4"]);
});

test("steps: whole pages, the last one cut short, fewer bytes of many sources, one step for an empty tensor", () => {
  const ranges = (tasks: TensorTask[], piece: number, window: number) =>
    [...steps(planPasses(tasks), piece, window)].map(({ begin, end, last }) => [begin, end, last]);
  expect(ranges([task("a: 0")], 8192, 65_536)).toEqual([
    [0, 8192, false],
    [8192, 10_000, true],
  ]);
  expect(ranges([task("a: 0 1 2")], 8192, 16_384)).toEqual([
    [0, 4096, false],
    [4096, 8192, false],
    [8192, 10_000, true],
  ]);
  expect(ranges([task("a: 0", 8192)], 8192, 8192)).toEqual([[0, 8192, true]]);
  expect(ranges([task("a: 0", 0)], 8192, 8192)).toEqual([[0, 0, true]]);
});

test("every output is in one pass, every source too, with all that its outputs need (property)", () => {
  const source = fc.integer({ min: 0, max: 12 });
  const made = fc.array(fc.uniqueArray(source, { maxLength: 3 }), { maxLength: 20 });
  fc.assert(
    fc.property(made, (lists) => {
      const passes = planPasses(lists.map((from, i) => task(`${i}:${from.join(" ")}`)));
      const outputs = passes.flatMap((pass) => pass.outputs.map(({ name }) => Number(name)));
      expect(outputs.toSorted((a, b) => a - b)).toEqual(lists.map((_, i) => i));
      const read = passes.flatMap((pass) => pass.sources);
      expect(new Set(read).size).toBe(read.length);
      expect(new Set(read)).toEqual(new Set(lists.flat().map(String)));
      for (const pass of passes) {
        for (const { sources } of pass.outputs)
          for (const { tensor } of sources) expect(pass.sources).toContain(tensor);
      }
    }),
  );
});
