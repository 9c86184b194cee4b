import { RecipeError } from "./errors.js";
import type { AdaLoraSettings } from "./recipe-adapter.js";

/** In steps. */
export interface RankSchedule {
  readonly tinit: number;
  readonly tfinal: number;
  readonly total: number;
}

/** @throws RecipeError where the ranks have no time to fall */
export function rankSchedule({ tinit, tfinal }: AdaLoraSettings, total: number): RankSchedule {
  const inSteps = (value: number) => (value < 1 ? Math.ceil(value * total) : Math.round(value));
  const schedule = { tinit: inSteps(tinit), tfinal: inSteps(tfinal), total };
  if (schedule.tinit + schedule.tfinal < total) return schedule;
  throw new RecipeError(
    `adapter: the ranks fall between tinit (${schedule.tinit} steps) and tfinal (the last ${schedule.tfinal}), and a run of ${total} steps has none between them; lower tinit or tfinal`,
  );
}

/**
 * How many triplets are kept after step t = 1 … total: all of `from` until tinit, `to` from total − tfinal on, between them
 * ⌊to + (from − to)·(1 − (t − tinit)/(total − tfinal − tinit))³⌋ (Zhang et al. 2023).
 */
export function budgetAt(t: number, { tinit, tfinal, total }: RankSchedule, from: number, to: number): number {
  if (t <= tinit) return from;
  if (t >= total - tfinal) return to;
  return Math.floor((from - to) * (1 - (t - tinit) / (total - tfinal - tinit)) ** 3 + to);
}
