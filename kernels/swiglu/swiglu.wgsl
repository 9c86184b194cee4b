// y = silu(gate)∘up, silu(g) = g·σ(g).
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> gate: array<value>;
@group(0) @binding(2) var<storage, read> up: array<value>;
@group(0) @binding(3) var<storage, read_write> y: array<value>;

#include "../webgpu/elementwise.wgsl"
#include "sigmoid.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  if (i < p.count) {
    let g = gate[i];
    y[i] = g * sigmoid(g) * up[i];
  }
}
