/** How the learning rate goes over a run. Step counts are of optimizer steps. */
export interface Schedule {
  name: "cosine" | "linear" | "constant" | "wsd";
  /** Steps of linear warmup: a share of all steps below 1, or a number of steps. */
  warmup: number;
  /** Learning rate at the end (absolute, not a ratio); has no meaning for `constant`. */
  final: number;
  /** `wsd` only: the last steps, in which the rate falls; a share or a number, as `warmup`. Default 0.1. */
  decay?: number | undefined;
}

/** Warmup in steps: a share is rounded up, so that any warmup at all has at least one step. */
export function warmupSteps(schedule: Schedule, steps: number): number {
  return inSteps(schedule.warmup, steps);
}

/** The decay of `wsd` in steps, likewise; no more than the warmup leaves. */
export function decaySteps(schedule: Schedule, steps: number): number {
  return Math.min(inSteps(schedule.decay ?? 0.1, steps), Math.max(0, steps - warmupSteps(schedule, steps)));
}

function inSteps(shareOrCount: number, steps: number): number {
  return shareOrCount < 1 ? Math.ceil(shareOrCount * steps) : shareOrCount;
}

/**
 * Learning rate of step s = 0 … steps − 1, with W warmup steps and peak `lr`: lr·(s+1)/W while s < W; then, with
 * x = (s − W)/(steps − W), final + (lr − final)·(1 + cos πx)/2 for `cosine` (Loshchilov & Hutter 2017),
 * lr + (final − lr)·x for `linear`, lr for `constant`; for `wsd` (warmup, stable, decay; Hu et al. 2024, arXiv:2404.06395,
 * here with a linear decay) lr until the last C steps, then lr + (final − lr)·(s − (steps − C))/C.
 */
export function learningRate(schedule: Schedule, lr: number, step: number, steps: number): number {
  const warmup = warmupSteps(schedule, steps);
  if (step < warmup) return (lr * (step + 1)) / warmup;
  const x = steps > warmup ? (step - warmup) / (steps - warmup) : 1;
  switch (schedule.name) {
    case "cosine":
      return schedule.final + ((lr - schedule.final) * (1 + Math.cos(Math.PI * x))) / 2;
    case "linear":
      return lr + (schedule.final - lr) * x;
    case "constant":
      return lr;
    case "wsd": {
      const decay = decaySteps(schedule, steps);
      const into = step - (steps - decay);
      return into <= 0 ? lr : lr + ((schedule.final - lr) * into) / decay;
    }
    default:
      return schedule.name satisfies never;
  }
}
