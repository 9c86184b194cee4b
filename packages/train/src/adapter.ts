import { type ModelConfig, blockName, blockTensors } from "@slayer/checkpoint";
import { Pcg32 } from "@slayer/data";
import type { Adapt } from "@slayer/model";
import type { AdamW, NamedType } from "@slayer/optim";
import { add, matmul, size, type Store } from "@slayer/tensor";
import { RecipeError } from "./errors.js";
import type { AdapterSettings } from "./recipe-adapter.js";

/**
 * Low-rank matrices beside frozen linear layers, with the names, start values and files of PEFT. LoRA (Hu et al. 2021,
 * arXiv:2106.09685): y = x·Wᵀ becomes y + (alpha/rank)·x·Aᵀ·Bᵀ with A [rank, in] and B [out, rank] trained. AdaLoRA (Zhang et
 * al. 2023, arXiv:2303.10512): y + (alpha/rank)·x·Aᵀ·E·Bᵀ with the singular values E [rank] trained too; what takes them away
 * is in rank-allocator.ts.
 */

/** A square matrix (alpha/rank)·I in the store: the scaling as one more product, so that no op is needed for it. */
const SCALING = "lora.scaling";

export interface AdapterNames {
  readonly a: string;
  readonly b: string;
  /**
   * AdaLoRA only. E is held as the diagonal of a matrix [rank, rank], for the same reason as the scaling. The rest of that matrix is
   * zero and stays so, since the rest of its gradient is set to zero before each update.
   */
  readonly e?: string;
}

export function adapterNames(module: string, { name }: AdapterSettings): AdapterNames {
  const end = name === "lora" ? ".weight" : "";
  const [a, b] = [`${module}.lora_A${end}`, `${module}.lora_B${end}`];
  return name === "lora" ? { a, b } : { a, b, e: `${module}.lora_E` };
}

/** A module with an adapter, and its layer's widths. */
export interface AdaptedModule {
  readonly module: string;
  readonly out: number;
  readonly into: number;
}

/** Every target in every block. Throws a RecipeError for a target that the model has not. */
export function adaptedModules(config: ModelConfig, { targets }: AdapterSettings): AdaptedModule[] {
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
      .map(([name, [out, into]]) => ({
        module: blockName(l, name).replace(/\.weight$/, ""),
        out: out!,
        into: into!,
      })),
  );
}

/** What is trained, f32. */
export function adapterTypes(config: ModelConfig, settings: AdapterSettings): NamedType[] {
  const { rank } = settings;
  return adaptedModules(config, settings).flatMap(({ module, out, into }): NamedType[] => {
    const { a, b, e } = adapterNames(module, settings);
    return [
      { name: a, shape: [rank, into], dtype: "f32" },
      { name: b, shape: [out, rank], dtype: "f32" },
      ...(e === undefined ? [] : [{ name: e, shape: [rank, rank], dtype: "f32" } as const]),
    ];
  });
}

/** How many of a trained tensor's elements are parameters. */
export function adapterElements({ name, shape }: NamedType): number {
  return name.endsWith(".lora_E") ? shape[0]! : size(shape);
}

/** What the adapter keeps beside what is trained. */
export function adapterState({ rank }: AdapterSettings): NamedType {
  return { name: SCALING, shape: [rank, rank], dtype: "f32" };
}

/** The layers' part in the graph. */
export function adaptWith(settings: AdapterSettings): Adapt {
  const { rank, targets } = settings;
  return (module, x, y, weight) => {
    if (!targets.includes(module.split(".").at(-1)!)) return y;
    const { a, b, e } = adapterNames(module, settings);
    const inner = matmul(x, weight(a, [rank, x.shape.at(-1)!]), { transposeB: true }); // [..., rank]
    const weighted = e === undefined ? inner : matmul(inner, weight(e, [rank, rank]));
    const scaled = matmul(weighted, weight(SCALING, [rank, rank]));
    return add(y, matmul(scaled, weight(b, [y.shape.at(-1)!, rank]), { transposeB: true }));
  };
}

/**
 * Start values, with which the model starts unchanged. LoRA: A uniform in ±1/√in (PEFT's Kaiming initialisation with a = √5), B 0.
 * AdaLoRA: A and B normal with deviation 0.02, E 0.
 */
export async function initialiseAdapter(
  store: Store,
  optimizer: AdamW,
  settings: AdapterSettings,
  seed: number,
): Promise<void> {
  const { rank, alpha } = settings;
  const lora = settings.name === "lora";
  // PEFT divides AdaLoRA's by rank + 1e-5.
  await store.write(SCALING, diagonal(new Float32Array(rank).fill(alpha / (lora ? rank : rank + 1e-5))));
  const random = new Pcg32(seed, 1);
  for (const { name, shape } of optimizer.trainable) {
    const values = new Float32Array(size(shape));
    if (lora && name.endsWith(adapterNames("", settings).a)) {
      const bound = 1 / Math.sqrt(shape[1]!);
      for (let i = 0; i < values.length; i++) values[i] = bound * ((2 * random.next()) / 2 ** 32 - 1);
    } else if (!lora && !name.endsWith(".lora_E")) {
      for (let i = 0; i < values.length; i++) values[i] = 0.02 * normal(random);
    }
    await store.write(optimizer.masterName(name), values);
  }
}

/** A matrix with these values on its diagonal. */
export function diagonal(values: Float32Array): Float32Array {
  const n = values.length;
  const matrix = new Float32Array(n * n);
  for (let i = 0; i < n; i++) matrix[i * n + i] = values[i]!;
  return matrix;
}

export function diagonalOf(matrix: Float32Array, n: number): Float32Array {
  const values = new Float32Array(n);
  for (let i = 0; i < n; i++) values[i] = matrix[i * n + i]!;
  return values;
}

/** By Box and Muller (1958). */
function normal(random: Pcg32): number {
  const [u, v] = [(random.next() + 1) / 2 ** 32, random.next() / 2 ** 32];
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
}
