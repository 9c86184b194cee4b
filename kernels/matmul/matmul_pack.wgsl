// B [k, n], or [n, k] if TRANSPOSE_B, as packed [k, n] in rows of `stride` elements, a multiple of four; what pads them is zero. B may be stored in bf16 (BF16).
// Tiles of 8 × 8 so that neither side is read or written far apart: one thread per element, one workgroup per tile.
struct Params { n: u32, k: u32, ldb: u32, b_base: u32, stride: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> b: array<stored>;
@group(0) @binding(2) var<storage, read_write> packed: array<f32>;

#include "../webgpu/bf16.wgsl"

#if BF16
alias stored = u32;
fn element(at: u32) -> f32 {
  return widen(b[at / 2], at);
}
#else
alias stored = f32;
fn element(at: u32) -> f32 {
  return b[at];
}
#endif

@compute @workgroup_size(8, 8)
fn main(@builtin(global_invocation_id) at: vec3u) {
  let column = at.x;
  let depth = at.y;
  if (column >= p.stride || depth >= p.k) {
    return;
  }
#if TRANSPOSE_B
  let value = element(p.b_base + min(column, p.n - 1) * p.ldb + depth);
#else
  let value = element(p.b_base + depth * p.ldb + min(column, p.n - 1));
#endif
  packed[depth * p.stride + column] = select(0.0, value, column < p.n);
}
