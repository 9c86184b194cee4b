import { join } from "node:path";
import { type Batch, Batches, prepareSource, type Tokenizer } from "@slayer/data";
import { type Adapt, forward, forwardInputs, typesIn } from "@slayer/model";
import { Graph, lmHeadLoss, Program, type Store, sum } from "@slayer/tensor";
import type { ModelConfig } from "@slayer/checkpoint";
import { chatTemplate, describeBad, heldOutFiles } from "./data-files.js";
import type { Recipe } from "./recipe.js";
import type { DataOptions } from "./training-data.js";

/** More tokens of a file are not evaluated: the error of the mean is small by then. */
const MOST_TOKENS = 2 ** 22;

/** Held-out conversations as sequences [1, T], packed and scored as those that are trained on. */
export async function heldOutConversations(
  path: string,
  tokenizer: Tokenizer,
  recipe: Recipe,
  { directory, warn, signal }: DataOptions,
): Promise<Batch[]> {
  const { sequence_length: sequenceLength, seed, bad_records: maxBadShare, model, out, token_cache } = recipe;
  const template = await chatTemplate(recipe, directory);
  const spec = {
    files: await heldOutFiles(path, directory),
    read: { kind: "chat", layout: "auto", template },
  } as const;
  const cache = token_cache ?? join(out, "tokens");
  const source = await prepareSource(spec, {
    tokenizer,
    directory: model,
    cache,
    maxBadShare,
    ...(signal && { signal }),
  });
  try {
    const left = describeBad(path, source.report);
    if (left !== undefined) warn?.(left);
    const shuffle = { documents: false, sequences: true };
    const settings = { sequenceLength, mode: "whole", boundary: {}, shuffle, seed, batchSize: 1, epochs: 1 } as const;
    const batches = new Batches(source.train, settings);
    const found: Batch[] = [];
    while (found.length * sequenceLength < MOST_TOKENS) {
      const batch = batches.next();
      if (batch === null) break;
      found.push(batch);
    }
    return found;
  } finally {
    source.train.close();
  }
}

/** The forward pass for one of these sequences: the sum over its scored tokens. Free it after use. */
export async function compileScoring(
  config: ModelConfig,
  store: Store,
  length: number,
  adapt: { adapt: Adapt } | undefined,
): Promise<Program> {
  const graph = new Graph();
  const weights = typesIn(store);
  const { final, head } = forward(graph, config, { batch: 1, length, segments: true, weights, ...adapt });
  const loss = sum(lmHeadLoss(final, head, graph.input("targets", [1, length], "i32")));
  return Program.compile(graph, { loss }, store);
}

/** Mean over the scored tokens of all, nats. */
export async function scoreConversations(
  config: ModelConfig,
  store: Store,
  batches: readonly Batch[],
  adapt: { adapt: Adapt } | undefined,
): Promise<number> {
  const length = batches[0]!.sequenceLength;
  const program = await compileScoring(config, store, length, adapt);
  try {
    let [nats, scored] = [0, 0];
    for (const { inputIds, positions, segments: segmentIds, targets } of batches) {
      const shape = { batch: 1, length, segments: true, positions, segmentIds };
      await program.run({ ...forwardInputs(config, inputIds, shape), targets });
      nats += (await program.read("loss"))[0]!;
      scored += targets.reduce((n, target) => n + Number(target >= 0), 0);
    }
    return nats / scored;
  } finally {
    program.free();
  }
}
