import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import {
  type Checkpoint,
  CheckpointWriter,
  encodeFromF32,
  type FloatDtype,
  listSideFiles,
  readProvenance,
  withOutputDirectory,
  writeFileAtomic,
  writeProvenance,
} from "@slayer/checkpoint";
import type { Store } from "@slayer/tensor";
import { TrainingError } from "./errors.js";

/**
 * Writes the trained model as a complete Hugging Face directory: trained tensors from the store, rounded once to the dtype they
 * have in the base; every other tensor, config and side file as the base has it. `provenance.json` goes along: it says
 * where each block came from before training.
 */
export async function exportModel(
  base: Checkpoint,
  store: Store,
  /** Name of each trained tensor, and where the store holds its values. */
  trained: ReadonlyMap<string, string>,
  outDir: string,
  card: string,
  /** Further files by name, in place of the base's. */
  files: Readonly<Record<string, string>> = {},
): Promise<void> {
  const specs = [...base.tensors.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const side = await listSideFiles(base.dir);
  await withOutputDirectory(outDir, { overwrite: true }, async (dir) => {
    const writer = await CheckpointWriter.create(dir, specs);
    try {
      for (const { name, dtype } of specs) {
        const inStore = trained.get(name);
        if (inStore !== undefined) {
          const values = (await store.read(inStore)) as Float32Array;
          if (!values.every((value) => Number.isFinite(value))) {
            throw new TrainingError(
              `${name} holds values that are not finite; no model is written. A lower lr may help`,
            );
          }
          await writer.write(name, encodeFromF32(values, dtype as FloatDtype));
        } else {
          for await (const piece of base.chunks(name)) await writer.write(name, piece);
        }
      }
      await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }
    await writeFileAtomic(join(dir, "config.json"), `${JSON.stringify(base.rawConfig, null, 2)}\n`);
    for (const name of side.copied) await copyFile(join(base.dir, name), join(dir, name));
    const provenance = await readProvenance(base.dir);
    if (provenance) await writeProvenance(dir, provenance);
    await writeFileAtomic(join(dir, "README.md"), card);
    for (const [name, text] of Object.entries(files)) await writeFileAtomic(join(dir, name), text);
  });
}
