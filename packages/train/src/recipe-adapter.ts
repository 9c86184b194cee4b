import { z } from "zod";

const rank = z.int().positive().max(1024);
const shareOrSteps = z.number().nonnegative();
const smoothing = z.number().positive().lt(1);

/** What both kinds have. */
const common = {
  alpha: z.number().positive().default(16),
  /** Last segments of the modules' names. */
  targets: z
    .array(z.string().min(1))
    .min(1)
    .default(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
};

/** The recipe's `adapter`. Names and defaults of AdaLoRA's settings are PEFT's where it has them. */
export const adapter = z.discriminatedUnion("name", [
  z.strictObject({ name: z.literal("lora"), rank: rank.default(8), ...common }),
  z.strictObject({
    name: z.literal("adalora"),
    /** Of every matrix at the start. */
    rank: rank.default(12),
    /** Of the matrices at the end, on average. */
    target_rank: rank.default(8),
    ...common,
    /** Steps before the ranks begin to fall, and after they have fallen: shares of all steps below 1, or numbers of steps. */
    tinit: shareOrSteps.default(0),
    tfinal: shareOrSteps.default(0),
    /** Steps from one decision to the next. */
    deltaT: z.int().positive().default(1),
    /** Of the running means of sensitivity and of uncertainty. */
    betas: z.tuple([smoothing, smoothing]).default([0.85, 0.85]),
    /** Weight of the penalty that keeps the singular vectors orthogonal. */
    orthogonality: z.number().nonnegative().default(0.5),
  }),
]);

export type AdapterSettings = z.infer<typeof adapter>;
export type AdaLoraSettings = Extract<AdapterSettings, { name: "adalora" }>;

/** What is wrong with it, in words. */
export function adapterProblem(settings: AdapterSettings | undefined): string | undefined {
  if (settings?.name !== "adalora" || settings.target_rank < settings.rank) return undefined;
  return `adapter: target_rank (${settings.target_rank}) must be below rank (${settings.rank}), or no rank falls; without that, name: lora is the same`;
}
