// The batches that a recipe trains on, for a peer to train on the same.
//
//   node tools/oracle/dump_batches.mjs RECIPE.json STEPS OUT
//
// OUT: int32, for each step input_ids, targets, positions and segments, each [B, T]. Needs the built packages.
import { readFileSync, writeFileSync } from "node:fs";
import { checkRecipe, openData } from "../../packages/train/dist/index.js";

const [file, steps, out] = process.argv.slice(2);
const recipe = checkRecipe(JSON.parse(readFileSync(file, "utf8")), file);
const data = await openData(recipe);
const batches = await data.batches();
const parts = [];
for (let step = 0; step < Number(steps); step++) {
  const { sequences, micro = sequences } = recipe.batch;
  const found = [];
  for (let i = 0; i < sequences / micro; i++) found.push(await batches.next());
  for (const name of /** @type {const} */ (["inputIds", "targets", "positions", "segments"])) {
    for (const batch of found) {
      if (batch !== null) parts.push(Buffer.from(batch[name].buffer, batch[name].byteOffset, batch[name].byteLength));
    }
  }
}
writeFileSync(out, Buffer.concat(parts));
await data.close();
