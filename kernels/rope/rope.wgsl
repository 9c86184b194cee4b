// Rotary position embedding (Su et al. 2021), half-split: in each head of size 2·half, (x_i, x_{i+half}) turns by
// position·frequency_i, backwards where `sign` is −1. One thread per position and frequency turns that pair in every head.
struct Params { rows: u32, heads: u32, half: u32, sign: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> positions: array<i32>;
@group(0) @binding(3) var<storage, read> frequencies: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

#include "../webgpu/elementwise.wgsl"
#include "../webgpu/sincos.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  let row = i / p.half;
  if (row >= p.rows) {
    return;
  }
  let pair = i % p.half;
  let turn = cos_sin(f32(positions[row]) * frequencies[pair]);
  let c = turn.x;
  let s = turn.y * p.sign;
  for (var head = 0u; head < p.heads; head++) {
    let at = (row * p.heads + head) * 2 * p.half + pair;
    let a = x[at];
    let b = x[at + p.half];
    y[at] = a * c - b * s;
    y[at + p.half] = b * c + a * s;
  }
}
