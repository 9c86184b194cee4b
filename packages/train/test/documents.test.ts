import { Batches, type BatchSettings, Corpus } from "@slayer/data";
import { forward, forwardInputs, loadWeights } from "@slayer/model";
import { type Backend, createReferenceBackend, Graph, lmHeadLoss, Program, Store } from "@slayer/tensor";
import { Checkpoint } from "@slayer/checkpoint";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AddonMissingError, availableIsas, createCpuBackend } from "@slayer/backend-cpu";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { writeTinyCheckpoint } from "../../../test/support/tiny-checkpoint.js";

const [B, T] = [3, 24];
let dir: string;
let checkpoint: Checkpoint;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "slayer-documents-"));
  await writeTinyCheckpoint(dir, { tokenizer: null });
  checkpoint = await Checkpoint.open(dir);
});
afterAll(async () => {
  await checkpoint.close();
  await rm(dir, { recursive: true });
});

/** Documents of these lengths; the one numbered `changed` has other tokens. */
const lengths = [5, 9, 2, 14, 7, 11, 3, 6];
function corpusOf(changed: number): Corpus {
  const documents = lengths.map((length, d) =>
    Int32Array.from({ length }, (_, t) => 10 + 20 * d + t + (d === changed ? 300 : 0)),
  );
  return Corpus.of(documents, "no tokenizer");
}

/** The loss of every scored token, by document and place in it. */
async function losses(
  mode: BatchSettings["mode"],
  changed: number,
  create: () => Promise<Backend> = async () => createReferenceBackend(),
): Promise<Map<string, number>> {
  const batches = new Batches(corpusOf(changed), {
    sequenceLength: T,
    batchSize: B,
    mode,
    boundary: { after: 2 },
    shuffle: { documents: true, sequences: true },
    seed: 4,
  });
  const { inputIds, targets, positions, segments: segmentIds } = batches.next()!;
  const segments = mode !== "concatenate";
  const store = new Store(await create());
  const graph = new Graph();
  const { final, head } = forward(graph, checkpoint.config, { batch: B, length: T, segments });
  const nll = lmHeadLoss(final, head, graph.input("targets", [B, T], "i32"));
  for (const t of graph.persistent.values()) store.add(t);
  await loadWeights(checkpoint, store);
  const program = await Program.compile(graph, { nll }, store);
  const options = { batch: B, length: T, segments, positions, segmentIds };
  await program.run({ ...forwardInputs(checkpoint.config, inputIds, options), targets });
  const found = new Map<string, number>();
  let document = -1;
  (await program.read("nll")).forEach((loss, i) => {
    const id = inputIds[i]! > 300 ? inputIds[i]! - 300 : inputIds[i]!;
    if (id >= 10) document = Math.floor((id - 10) / 20);
    if (targets[i]! >= 0) found.set(`${document} ${id >= 10 ? (id - 10) % 20 : "end"} at ${i}`, loss);
  });
  store.free();
  return found;
}

function cpuIsMissing(): boolean {
  try {
    return availableIsas().length === 0;
  } catch (error) {
    if (error instanceof AddonMissingError) return true;
    throw error;
  }
}

describe("changing one document", () => {
  it.skipIf(cpuIsMissing())(
    "whole, on the cpu backend (skipped where it is not built): changes no bit of another's loss",
    async () => {
      const create = () => createCpuBackend();
      const before = await losses("whole", -1, create);
      const after = await losses("whole", 3, create);
      for (const [place, loss] of after) {
        if (!place.startsWith("3 ")) expect(loss, place).toBe(before.get(place));
      }
      expect([...after].some(([place, loss]) => loss !== before.get(place))).toBe(true);
    },
  );

  it.each(["documents", "whole"] as const)(
    "%s: changes no bit of another's loss, and every one of its own",
    async (mode) => {
      const before = await losses(mode, -1);
      for (const [changed] of lengths.entries()) {
        const after = await losses(mode, changed);
        expect([...after.keys()]).toEqual([...before.keys()]);
        for (const [place, loss] of after) {
          const isChanged = Number(place.split(" ")[0]) === changed;
          if (isChanged) expect(loss, `${changed} changed: ${place}`).not.toBe(before.get(place));
          else expect(loss, `${changed} changed: ${place}`).toBe(before.get(place));
        }
      }
    },
  );

  it("concatenate: changes what follows it in its sequence, as the paper's packing does", async () => {
    const before = await losses("concatenate", -1);
    const others = await Promise.all(
      lengths.map(async (_, changed) =>
        [...(await losses("concatenate", changed))].filter(
          ([place, loss]) => Number(place.split(" ")[0]) !== changed && loss !== before.get(place),
        ),
      ),
    );
    expect(others.flat().length).toBeGreaterThan(20);
  });
});
