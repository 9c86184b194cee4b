/**
 * Mean over all observations of W clusters, and its standard error. Cluster w has `counts[w]` observations n_w that sum
 * to `sums[w]` = s_w:
 *
 *     mean m = Σ s_w / Σ n_w
 *     standard error = √( W/(W−1) · Σ (s_w − m·n_w)² ) / Σ n_w
 *
 * the linearised variance of a ratio (Cochran, Sampling Techniques, 1977, ch. 6; for evaluations: Miller, "Adding Error
 * Bars to Evals", arXiv:2411.00640, clustered). Observations of one cluster may depend on one another; clusters may not.
 * For equal n_w it is the standard deviation of the cluster means over √W. Null for one cluster.
 */
export function clusteredMean(
  sums: readonly number[],
  counts: readonly number[],
): { readonly mean: number; readonly standardError: number | null } {
  const W = sums.length;
  const observations = counts.reduce((a, b) => a + b, 0);
  const mean = sums.reduce((a, b) => a + b, 0) / observations;
  const squares = sums.reduce((total, s, w) => total + (s - mean * counts[w]!) ** 2, 0);
  return { mean, standardError: W < 2 ? null : Math.sqrt((W / (W - 1)) * squares) / observations };
}
