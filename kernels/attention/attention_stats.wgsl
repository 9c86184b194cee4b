// What the backward kernels need of each query: stats [B, heads, T] = (log-sum-exp, Σ_e do·o). One thread per query and head.
struct Params { queries: u32, heads: u32, count: u32, values: u32, first_sequence: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dout: array<value>;
@group(0) @binding(2) var<storage, read> o: array<value>;
@group(0) @binding(3) var<storage, read> lse: array<f32>;
@group(0) @binding(4) var<storage, read_write> stats: array<vec2f>;

#include "values.wgsl"
#include "../webgpu/elementwise.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  if (i >= p.count) {
    return;
  }
  let whole = p.first_sequence * p.heads * p.queries + i;
  let head = (i / p.queries) % p.heads;
  let row = i / (p.queries * p.heads) * p.queries + i % p.queries;
  let at = (row * p.heads + head) * values();
  var products = value();
  for (var e = 0u; e < values(); e++) {
    products += dout[at + e] * o[at + e];
  }
#if VEC4
  stats[whole] = vec2f(lse[whole], products.x + products.y + products.z + products.w);
#else
  stats[whole] = vec2f(lse[whole], products);
#endif
}
