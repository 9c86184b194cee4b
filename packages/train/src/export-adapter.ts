import { rename } from "node:fs/promises";
import { join } from "node:path";
import { CheckpointWriter, encodeFromF32, withOutputDirectory, writeFileAtomic } from "@slayer/checkpoint";
import { type AdaptedModule, adaptedModules, adapterNames, diagonalOf } from "./adapter.js";
import { TrainingError } from "./errors.js";
import type { RunParts } from "./loop.js";
import type { RankAllocator } from "./rank-allocator.js";
import type { AdapterSettings } from "./recipe-adapter.js";

type Parts = Pick<RunParts, "recipe" | "setup" | "allocator"> & { readonly model: Pick<RunParts["model"], "config"> };

/** Writes the adapter as PEFT reads it: adapter_config.json and adapter_model.safetensors, in f32. */
export async function exportAdapter(parts: Parts, outDir: string, card: string): Promise<void> {
  const settings = parts.recipe.adapter!;
  const kept = await parts.allocator?.kept();
  const modules = adaptedModules(parts.model.config, settings);
  const config = {
    task_type: "CAUSAL_LM",
    base_model_name_or_path: parts.recipe.model,
    ...peftSettings(settings, parts.allocator, kept),
    lora_alpha: settings.alpha,
    lora_dropout: 0,
    target_modules: [...settings.targets],
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
  };
  const specs = modules.flatMap((module) => tensorsOf(parts, module, kept?.get(module.module)));
  await withOutputDirectory(outDir, { overwrite: true }, async (dir) => {
    const writer = await CheckpointWriter.create(dir, specs, { maxShardBytes: Number.MAX_SAFE_INTEGER });
    try {
      for (const { name, read } of specs) {
        const values = await read();
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

function peftSettings(
  settings: AdapterSettings,
  allocator: RankAllocator | undefined,
  kept: ReadonlyMap<string, boolean[]> | undefined,
) {
  if (settings.name === "lora") return { peft_type: "LORA", r: settings.rank };
  const { tinit, tfinal, total } = allocator!.schedule;
  return {
    peft_type: "ADALORA",
    init_r: settings.rank,
    target_r: settings.target_rank,
    ...{ tinit, tfinal, deltaT: settings.deltaT, total_step: total },
    beta1: settings.betas[0],
    beta2: settings.betas[1],
    orth_reg_weight: settings.orthogonality,
    rank_pattern: Object.fromEntries(
      Array.from(kept!, ([module, triplets]) => [adapterNames(module, settings).e!, triplets]),
    ),
  };
}

/** Of AdaLoRA's only the triplets that are kept, as PEFT saves them. */
function tensorsOf({ recipe, setup }: Parts, { module, out, into }: AdaptedModule, kept: boolean[] | undefined) {
  const { optimizer } = setup;
  const settings = recipe.adapter!;
  const { rank } = settings;
  const { a, b, e } = adapterNames(module, settings);
  const triplets = Array.from({ length: rank }, (_, k) => k).filter((k) => kept?.[k] ?? true);
  const r = triplets.length;
  const tensor = (name: string, shape: number[], pick: (values: Float32Array) => Float32Array) => ({
    ...{ name: `base_model.model.${name}`, shape, dtype: "F32" as const },
    read: async () => pick((await optimizer.store.read(optimizer.masterName(name))) as Float32Array),
  });
  const rows = (values: Float32Array) => {
    const picked = new Float32Array(r * into);
    triplets.forEach((k, i) => picked.set(values.subarray(k * into, (k + 1) * into), i * into));
    return picked;
  };
  const columns = (values: Float32Array) =>
    Float32Array.from({ length: out * r }, (_, i) => values[Math.floor(i / r) * rank + triplets[i % r]!]!);
  const weights = (values: Float32Array) => {
    const all = diagonalOf(values, rank);
    return Float32Array.from(triplets, (k) => all[k]!);
  };
  return [
    tensor(a, [r, into], rows),
    tensor(b, [out, r], columns),
    ...(e === undefined ? [] : [tensor(e, [r, 1], weights)]),
  ];
}
