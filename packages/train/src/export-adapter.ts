import { rename } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointWriter, encodeFromF32, withOutputDirectory, writeFileAtomic } from "@slayer/checkpoint";
import type { AdamW } from "@slayer/optim";
import { TrainingError } from "./errors.js";
import type { LoraSettings } from "./lora.js";

/** Writes the adapter as PEFT reads it: adapter_config.json and adapter_model.safetensors, in f32. */
export async function exportAdapter(
  base: string,
  optimizer: AdamW,
  { rank, alpha, targets }: LoraSettings,
  outDir: string,
  card: string,
): Promise<void> {
  const config = {
    peft_type: "LORA",
    task_type: "CAUSAL_LM",
    base_model_name_or_path: base,
    r: rank,
    lora_alpha: alpha,
    lora_dropout: 0,
    target_modules: [...targets],
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
  };
  const specs = optimizer.trainable.map(({ name, shape }) => ({
    name: `base_model.model.${name}`,
    shape,
    dtype: "F32" as const,
    inStore: optimizer.masterName(name),
  }));
  await withOutputDirectory(outDir, { overwrite: true }, async (dir) => {
    const writer = await CheckpointWriter.create(dir, specs, { maxShardBytes: Number.MAX_SAFE_INTEGER });
    try {
      for (const { name, inStore } of specs) {
        const values = (await optimizer.store.read(inStore)) as Float32Array;
        if (!values.every((value) => Number.isFinite(value))) {
          throw new TrainingError(`${name} holds values that are not finite; no adapter is written`);
        }
        await writer.write(name, encodeFromF32(values, "F32"));
      }
      await writer.finish();
    } catch (error) {
      await writer.abort();
      throw error;
    }
    await rename(join(dir, "model.safetensors"), join(dir, "adapter_model.safetensors"));
    await writeFileAtomic(join(dir, "adapter_config.json"), `${JSON.stringify(config, null, 2)}\n`);
    await writeFileAtomic(join(dir, "README.md"), card);
  });
}
