// y in bf16 = x in f32, `count` elements. One thread per pair, which it owns; the half word after an odd count stays as it is.
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;

#include "bf16.wgsl"
#include "elementwise.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = 2 * thread_index(w, n, l);
  if (i >= p.count) {
    return;
  }
  var upper = y[i / 2] >> 16;
  if (i + 1 < p.count) {
    upper = narrow(x[i + 1]);
  }
  y[i / 2] = narrow(x[i]) | (upper << 16);
}
