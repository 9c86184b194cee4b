// RMSNorm (Zhang & Sennrich 2019): r = (mean(x²) + eps)^(−1/2) per row, y = x·r·w. One workgroup per row.
struct Params { rows: u32, columns: u32, eps: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read_write> r: array<f32>;

#include "../webgpu/reduce.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, thread: Thread) {
  let l = thread.local;
  let row = w.y * n.x + w.x;
  if (row >= p.rows) {
    return;
  }
  let first = row * p.columns;
  var squares = 0.0;
  for (var j = l; j < p.columns; j += WORKGROUP) {
    let value = x[first + j];
    squares += value * value;
  }
  let scale = 1.0 / sqrt(workgroup_sum(squares, thread) / f32(p.columns) + p.eps);
  if (l == 0) {
    r[row] = scale;
  }
  for (var j = l; j < p.columns; j += WORKGROUP) {
    y[first + j] = x[first + j] * scale * weight[j];
  }
}
