import { PlanError } from "../errors.js";

/** A whole number of at least `least`, or a `PlanError` that names the option. */
export function atLeast(least: number, option: string, value: number, context?: string): number {
  if (Number.isSafeInteger(value) && value >= least) return value;
  const where = context === undefined ? "" : ` (${context})`;
  throw new PlanError(`${option} must be a whole number of at least ${least}, got ${String(value)}${where}`);
}
