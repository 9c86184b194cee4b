// y = s [1] everywhere.
struct Params { count: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> y: array<value>;
@group(0) @binding(2) var<storage, read> s: array<f32>;

#include "../webgpu/elementwise.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  if (i < p.count) {
    y[i] = value(s[0]);
  }
}
