// What attention's kernels share. q, o and their gradients are [B, queries, heads·E], k, v and theirs [B, keys, kv_heads·E], lse and stats
// [B, heads, queries]; backward there are as many keys as queries. A head of a row is N values: vec4f where E is a multiple of four, else f32.
// Where not all sequences fit a binding, what is large is bound from p.first_sequence on, and lse, stats and segments whole.
struct Params { queries: u32, keys: u32, heads: u32, kv_heads: u32, window: u32, scale: f32, values: u32, first_sequence: u32 }
@group(0) @binding(0) var<uniform> p: Params;

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

// Where a head of row `i` of q begins.
fn place_in_q(sequence: u32, i: u32, head: u32) -> u32 {
  return ((sequence * p.queries + i) * p.heads + head) * values();
}

// Where a head of row `j` of k and v begins; rows are kv_stride() apart.
fn place_in_kv(sequence: u32, j: u32, kv_head: u32) -> u32 {
  return (sequence * p.keys + j) * kv_stride() + kv_head * values();
}

fn kv_stride() -> u32 {
  return p.kv_heads * values();
}

// The head of k and v that a head of q reads.
fn kv_head_of(head: u32) -> u32 {
  return head / (p.heads / p.kv_heads);
}

// Where a query's log-sum-exp or statistics are; `sequence` counts all.
fn place_in_stats(sequence: u32, i: u32, head: u32) -> u32 {
  return (sequence * p.heads + head) * p.queries + i;
}
