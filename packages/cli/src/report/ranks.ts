import { z } from "zod";
import { UserError } from "../errors.js";

const schema = z.object({
  base_model_name_or_path: z.string().max(4096).nullish(),
  init_r: z.int().positive().max(4096),
  target_r: z.int().positive().max(4096),
  total_step: z.int().positive(),
  rank_pattern: z.record(z.string(), z.array(z.boolean()).max(4096)),
});

/** What AdaLoRA left of the ranks, as an adapter's adapter_config.json tells it. */
export interface Ranks {
  readonly base: string;
  /** Of every matrix at the start, and on average at the end. */
  readonly start: number;
  readonly target: number;
  readonly steps: number;
  /** Short names, q_proj, …, in the order of the file. */
  readonly modules: readonly string[];
  /** By module and block; null where a block has no such module. */
  readonly ranks: readonly (readonly (number | null)[])[];
}

/** As in plans. */
const MAX_BLOCKS = 4096;
const MAX_MODULES = 64;
const NAME = /^(?:.*\.)?layers\.(\d{1,6})\.(?:.*\.)?([^.]+)\.lora_E(?:\.default)?$/;
/** As a block computes; others follow. */
const ORDER = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/**
 * The ranks in an adapter_config.json; null where it is no AdaLoRA's, or has none yet.
 * @throws UserError naming the field
 */
export function parseRanks(text: string, file: string): Ranks | null {
  let value: { rank_pattern?: unknown; peft_type?: unknown } | null;
  try {
    value = JSON.parse(text) as typeof value;
  } catch (cause) {
    throw new UserError(`${file}: expected JSON: ${(cause as Error).message}`, { cause });
  }
  if (typeof value !== "object" || value === null || (value.rank_pattern ?? null) === null) return null;
  if (value.peft_type !== "ADALORA") return null;
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new UserError(`${file}: ${z.prettifyError(parsed.error)}`);
  const { base_model_name_or_path: base, init_r: start, target_r: target, total_step: steps } = parsed.data;
  const byModule = new Map<string, Map<number, number>>();
  let blocks = 0;
  for (const [name, kept] of Object.entries(parsed.data.rank_pattern)) {
    const [, block, module] = NAME.exec(name) ?? [];
    if (module === undefined || Number(block) >= MAX_BLOCKS) {
      throw new UserError(
        `${file}: rank_pattern: expected names like model.layers.0.self_attn.q_proj.lora_E with at most ${MAX_BLOCKS} blocks, found '${name.slice(0, 200)}'`,
      );
    }
    const ranks = byModule.get(module) ?? new Map<number, number>();
    byModule.set(module, ranks.set(Number(block), kept.filter(Boolean).length));
    blocks = Math.max(blocks, Number(block) + 1);
  }
  if (byModule.size === 0 || byModule.size > MAX_MODULES) {
    throw new UserError(`${file}: rank_pattern: expected 1 to ${MAX_MODULES} kinds of modules, found ${byModule.size}`);
  }
  const place = (module: string) => (ORDER.includes(module) ? ORDER.indexOf(module) : ORDER.length);
  const modules = [...byModule.keys()].toSorted((a, b) => place(a) - place(b));
  return {
    ...{ base: base ?? "", start, target, steps, modules },
    ranks: modules.map((module) => Array.from({ length: blocks }, (_, l) => byModule.get(module)!.get(l) ?? null)),
  };
}

/** Sum of the ranks of each block. */
export function blockSums({ ranks }: Ranks): number[] {
  return ranks[0]!.map((_, l) => ranks.reduce((sum, row) => sum + (row[l] ?? 0), 0));
}
