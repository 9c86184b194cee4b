// A head of a query, key or value in registers: N values, vec4f where the head size is a multiple of four, else f32. Rows of q, o
// and their gradients hold p.heads heads, rows of k and v p.kv_heads. Where not all sequences fit a binding, what is large is bound from
// p.first_sequence on, and lse, stats and segments whole.
#include "values.wgsl"
#if VEC4
alias value = vec4f;
fn total(v: value) -> f32 {
  return v.x + v.y + v.z + v.w;
}
#else
alias value = f32;
fn total(v: value) -> f32 {
  return v;
}
#endif

#include "../webgpu/workgroup.wgsl"

// Whether the query at `position` sees `key`, by order and window.
fn visible(position: u32, key: u32) -> bool {
  return key <= position && (p.window == 0 || key + p.window > position);
}

// The first key that a query at `position` or later may see.
fn first_key(position: u32) -> u32 {
  return select(0, position + 1 - p.window, p.window > 0 && position + 1 > p.window);
}
