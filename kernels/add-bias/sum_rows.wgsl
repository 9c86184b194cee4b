// Sums over rows of x [rows, columns]: group w.y adds up `rows_per_group` rows into partial[first + w.y, columns]. One thread
// per column, so that neighbours read neighbours.
struct Params { rows: u32, columns: u32, rows_per_group: u32, first: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> partial: array<f32>;

#include "../webgpu/workgroup.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let column = w.x * WORKGROUP + l;
  if (column >= p.columns) {
    return;
  }
  var sum = 0.0;
  let begin = w.y * p.rows_per_group;
  let end = min(begin + p.rows_per_group, p.rows);
  for (var row = begin; row < end; row++) {
    sum += x[row * p.columns + column];
  }
  partial[(p.first + w.y) * p.columns + column] = sum;
}
