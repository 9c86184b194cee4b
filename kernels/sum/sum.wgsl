// Partial sums of x, or of its squares: workgroup g leaves in partial[first + g] what its threads found at strides of the whole
// grid. A second dispatch over the partial sums, with one workgroup, gives the sum.
struct Params { count: u32, first: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

#include "../webgpu/reduce.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, thread: Thread) {
  let l = thread.local;
  var sum = 0.0;
  for (var i = w.x * WORKGROUP + l; i < p.count; i += n.x * WORKGROUP) {
    let term = x[i];
#if SQUARES
    sum += term * term;
#else
    sum += term;
#endif
  }
  let total = workgroup_sum(sum, thread);
  if (l == 0) {
    partial[p.first + w.x] = total;
  }
}
