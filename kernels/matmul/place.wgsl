// Where the element `row`, `depth` of op(A) is, and `depth`, `column` of op(B).
fn place_a(row: u32, depth: u32) -> u32 {
#if TRANSPOSE_A
  return p.a_base + depth * p.lda + row;
#else
  return p.a_base + row * p.lda + depth;
#endif
}

fn place_b(depth: u32, column: u32) -> u32 {
#if TRANSPOSE_B
  return p.b_base + column * p.ldb + depth;
#else
  return p.b_base + depth * p.ldb + column;
#endif
}
