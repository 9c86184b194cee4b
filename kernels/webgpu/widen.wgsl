// y in f32 = x in bf16, `count` elements. One thread per pair.
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

#include "bf16.wgsl"
#include "elementwise.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = 2 * thread_index(w, n, l);
  if (i >= p.count) {
    return;
  }
  y[i] = widen(x[i / 2], 0);
  if (i + 1 < p.count) {
    y[i + 1] = widen(x[i / 2], 1);
  }
}
