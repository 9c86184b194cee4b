/** How the learning rate goes over a run. Step counts are of optimizer steps. */
export interface Schedule {
  name: "cosine" | "linear" | "constant";
  /** Steps of linear warmup: a share of all steps below 1, or a number of steps. */
  warmup: number;
  /** Learning rate at the end (absolute, not a ratio); has no meaning for `constant`. */
  final: number;
}

/** Warmup in steps: a share is rounded up, so that any warmup at all has at least one step. */
export function warmupSteps(schedule: Schedule, steps: number): number {
  return schedule.warmup < 1 ? Math.ceil(schedule.warmup * steps) : schedule.warmup;
}

/**
 * Learning rate of step s = 0 … steps − 1, with W warmup steps and peak `lr`: lr·(s+1)/W while s < W; then, with
 * x = (s − W)/(steps − W), final + (lr − final)·(1 + cos πx)/2 for `cosine` (Loshchilov & Hutter 2017),
 * lr + (final − lr)·x for `linear`, lr for `constant`.
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
    default:
      return schedule.name satisfies never;
  }
}
