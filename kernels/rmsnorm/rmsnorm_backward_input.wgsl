// dx = r·(w∘dy − x·r²·mean(w∘dy∘x)). One workgroup per row.
struct Params { rows: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read> r: array<f32>;
@group(0) @binding(5) var<storage, read_write> dx: array<f32>;

#include "../webgpu/reduce.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, thread: Thread) {
  let l = thread.local;
  let row = w.y * n.x + w.x;
  if (row >= p.rows) {
    return;
  }
  let first = row * p.columns;
  var product = 0.0;
  for (var j = l; j < p.columns; j += WORKGROUP) {
    product += weight[j] * dy[first + j] * x[first + j];
  }
  let scale = r[row];
  let along = workgroup_sum(product, thread) / f32(p.columns) * scale * scale;
  for (var j = l; j < p.columns; j += WORKGROUP) {
    dx[first + j] = scale * (weight[j] * dy[first + j] - x[first + j] * along);
  }
}
