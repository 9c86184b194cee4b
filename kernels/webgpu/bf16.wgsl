// bf16, the upper half of an f32, in pairs: the element with the even index in the lower half of a word.
fn widen(word: u32, index: u32) -> f32 {
  return bitcast<f32>(select(word << 16, word & 0xffff0000u, (index & 1) == 1));
}

// The nearest bf16, ties to even; NaN stays NaN, and becomes quiet.
fn narrow(value: f32) -> u32 {
  let bits = bitcast<u32>(value);
  let is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return select((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, (bits >> 16) | 0x40u, is_nan);
}
