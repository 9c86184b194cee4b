// σ(x). Below −88 exp(−x) would overflow, and WGSL promises nothing about infinity.
fn sigmoid(x: value) -> value {
  return 1.0 / (1.0 + exp(-max(x, value(-88.0))));
}
