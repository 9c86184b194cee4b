// Logits of one panel of the vocabulary into gradients, in place: g = dnll·(exp(logit − lse) − [column = target]), 0 where the
// target is IGNORE. One thread per logit.
struct Params { rows: u32, columns: u32, from_column: u32, first_row: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> logits: array<f32>;
@group(0) @binding(2) var<storage, read> dnll: array<f32>;
@group(0) @binding(3) var<storage, read> targets: array<i32>;
@group(0) @binding(4) var<storage, read> lse: array<f32>;

#include "../webgpu/elementwise.wgsl"

const IGNORE = -100i;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  if (i >= p.rows * p.columns) {
    return;
  }
  let row = p.first_row + i / p.columns;
  let id = targets[row];
  let own = select(0.0, 1.0, u32(id) - p.from_column == i % p.columns);
  let g = dnll[row] * (exp(logits[i] - lse[row]) - own);
  logits[i] = select(g, 0.0, id == IGNORE);
}
