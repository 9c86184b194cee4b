/** The value below which a share p of the sample lies, with linear interpolation (numpy's default). */
export function quantile(sample: readonly number[], p: number): number {
  if (sample.length === 0) throw new RangeError("quantile of no values");
  const sorted = sample.toSorted((a, b) => a - b);
  const at = p * (sorted.length - 1);
  const low = Math.floor(at);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (at - low) * (sorted[high]! - sorted[low]!);
}

export const median = (sample: readonly number[]): number => quantile(sample, 0.5);

/** Distance between the quartiles as a share of the median: half of the runs differ by no more than that. */
export function spread(sample: readonly number[]): number {
  return (quantile(sample, 0.75) - quantile(sample, 0.25)) / median(sample);
}
