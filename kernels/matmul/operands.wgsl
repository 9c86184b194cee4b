// Elements of A and B, each stored in f32 or, in pairs, in bf16; or four at a time in f32 (A_VEC4, B_VEC4), if all that is read at once
// lies at a multiple of four.
#include "../webgpu/bf16.wgsl"

#if A_VEC4
alias a_word = vec4f;
#else
#if A_BF16
alias a_word = u32;
fn element_of_a(at: u32) -> f32 {
  return widen(a[at / 2], at);
}
#else
alias a_word = f32;
fn element_of_a(at: u32) -> f32 {
  return a[at];
}
#endif
#endif

#if B_VEC4
alias b_word = vec4f;
#else
#if B_BF16
alias b_word = u32;
fn element_of_b(at: u32) -> f32 {
  return widen(b[at / 2], at);
}
#else
alias b_word = f32;
fn element_of_b(at: u32) -> f32 {
  return b[at];
}
#endif
#endif
