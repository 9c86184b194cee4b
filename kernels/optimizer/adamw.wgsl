// AdamW (Loshchilov & Hutter 2019), in place: with g = factor·gradient, m = β1·m + (1 − β1)·g, v = β2·v + (1 − β2)·g²,
// w −= lr·(decay·w + (m/c1) / (√(v/c2) + eps)). `step` is lr, c1, c2.
// rest1 = 1 − β1 and rest2 = 1 − β2, without f32's cancellation.
struct Params { count: u32, beta1: f32, rest1: f32, beta2: f32, rest2: f32, eps: f32, decay: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> weight: array<value>;
@group(0) @binding(2) var<storage, read> gradient: array<value>;
@group(0) @binding(3) var<storage, read_write> first: array<value>;
@group(0) @binding(4) var<storage, read_write> second: array<value>;
@group(0) @binding(5) var<storage, read> factor: array<f32>;
@group(0) @binding(6) var<storage, read> step: array<f32>;

#include "../webgpu/elementwise.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  if (i < p.count) {
    let g = factor[0] * gradient[i];
    let m = p.beta1 * first[i] + p.rest1 * g;
    let v = p.beta2 * second[i] + p.rest2 * g * g;
    first[i] = m;
    second[i] = v;
    let before = weight[i];
    let update = p.decay * before + (m / step[1]) / (sqrt(v / step[2]) + p.eps);
    weight[i] = before - step[0] * update;
  }
}
