import { type ModelConfig, blockName, blockTensors } from "@slayer/checkpoint";
import { Pcg32 } from "@slayer/data";
import type { Adapt } from "@slayer/model";
import type { AdamW, NamedType } from "@slayer/optim";
import { add, matmul, type Store } from "@slayer/tensor";
import { RecipeError } from "./errors.js";

/**
 * LoRA (Hu et al. 2021, arXiv:2106.09685): a frozen linear layer y = x·Wᵀ becomes y + (alpha/rank)·x·Aᵀ·Bᵀ with A [rank, in] and
 * B [out, rank] trained. Names, start values and files are those of PEFT.
 */
export interface LoraSettings {
  readonly rank: number;
  readonly alpha: number;
  /** Last segments of the modules' names: q_proj, down_proj, … */
  readonly targets: readonly string[];
}

/** A square matrix (alpha/rank)·I in the store: the scaling as one more product, so that no op is needed for it. */
const SCALING = "lora.scaling";

const names = (module: string) => ({ a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` });

/** A and B of every target, f32. Throws a RecipeError for a target that the model has not. */
export function adapterTypes(config: ModelConfig, { rank, targets }: LoraSettings): NamedType[] {
  const linears = [...blockTensors(config)].filter(([name, shape]) => name.endsWith(".weight") && shape.length === 2);
  const short = (name: string) => name.split(".").at(-2)!;
  const unknown = targets.find((target) => !linears.some(([name]) => short(name) === target));
  if (unknown !== undefined) {
    const known = linears.map(([name]) => short(name)).join(", ");
    throw new RecipeError(`adapter.targets: the model has no '${unknown}' in its blocks; it has ${known}`);
  }
  return Array.from({ length: config.blocks }, (_, l) => l).flatMap((l) =>
    linears
      .filter(([name]) => targets.includes(short(name)))
      .flatMap(([name, [out, into]]): NamedType[] => {
        const { a, b } = names(blockName(l, name).replace(/\.weight$/, ""));
        return [
          { name: a, shape: [rank, into!], dtype: "f32" },
          { name: b, shape: [out!, rank], dtype: "f32" },
        ];
      }),
  );
}

/** What the adapter keeps beside what is trained. */
export function adapterState({ rank }: LoraSettings): NamedType {
  return { name: SCALING, shape: [rank, rank], dtype: "f32" };
}

/** The layers' part in the graph. */
export function adaptWith({ rank, targets }: LoraSettings): Adapt {
  return (module, x, y, weight) => {
    if (!targets.includes(module.split(".").at(-1)!)) return y;
    const { a, b } = names(module);
    const inner = matmul(x, weight(a, [rank, x.shape.at(-1)!]), { transposeB: true }); // [..., rank]
    const scaled = matmul(inner, weight(SCALING, [rank, rank]));
    return add(y, matmul(scaled, weight(b, [y.shape.at(-1)!, rank]), { transposeB: true }));
  };
}

/** Start values: A uniform in ±1/√in (PEFT's Kaiming initialisation with a = √5), B 0, so that the model starts unchanged. */
export async function initialiseAdapter(
  store: Store,
  optimizer: AdamW,
  { rank, alpha }: LoraSettings,
  seed: number,
): Promise<void> {
  const scaling = new Float32Array(rank * rank);
  for (let i = 0; i < rank; i++) scaling[i * rank + i] = alpha / rank;
  await store.write(SCALING, scaling);
  const random = new Pcg32(seed, 1);
  for (const { name, shape } of optimizer.trainable) {
    const values = new Float32Array(shape[0]! * shape[1]!);
    const bound = 1 / Math.sqrt(shape[1]!);
    if (name.endsWith(names("").a)) {
      for (let i = 0; i < values.length; i++) values[i] = bound * ((2 * random.next()) / 2 ** 32 - 1);
    }
    await store.write(optimizer.masterName(name), values);
  }
}
