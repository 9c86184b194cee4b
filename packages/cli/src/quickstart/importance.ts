import { join } from "node:path";
import { type Checkpoint, writeFileAtomic } from "@slayer/checkpoint";
import { angularDistances, blockDrops } from "@slayer/importance";
import { loadWeights } from "@slayer/model";
import { type Backend, Store } from "@slayer/tensor";
import { sequenceBatches } from "../importance/data.js";
import type { QuickstartBudget } from "./budget.js";
import type { QuickstartHooks } from "./quickstart.js";

/** The files of scores that the report shows. */
export const SCORE_FILES = ["scores.json", "removal.json", "insertion-copy.json", "insertion-average.json"];

/** Angular distances, removals and insertions of every block, as in the paper's Figure 2; a bar and both numbers per block. */
export async function measureBlocks(
  checkpoint: Checkpoint,
  backend: Backend,
  out: string,
  ids: Int32Array,
  { sequenceLength: T, sweptSequences }: QuickstartBudget,
  { signal, say }: QuickstartHooks,
): Promise<void> {
  const { config } = checkpoint;
  const options = signal ? { signal } : {};
  const store = new Store(backend);
  try {
    await loadWeights(checkpoint, store);
    const sequences = Array.from({ length: Math.floor(ids.length / T) }, (_, i) => ids.slice(i * T, (i + 1) * T));
    const angular = await angularDistances(config, store, sequenceBatches(sequences, 8), options);
    const swept = { unit: "loss" as const, batches: sequenceBatches(sequences.slice(0, sweptSequences), 8) };
    const drops = await blockDrops(config, store, swept, ["removal", "copy", "average"], { together: 8, ...options });
    for (const [i, scores] of [angular, ...drops].entries()) {
      await writeFileAtomic(join(out, SCORE_FILES[i]!), `${JSON.stringify(scores)}\n`);
    }
    for (const { block, value } of angular.blocks) {
      const bar = "█".repeat(Math.round(value * 100));
      const drop = drops[0]!.blocks[block]!.value;
      say(`  block ${block}  ${value.toFixed(4)}  ${drop < 0 ? "" : "+"}${drop.toFixed(3)}  ${bar}`);
    }
  } finally {
    store.free();
  }
}
