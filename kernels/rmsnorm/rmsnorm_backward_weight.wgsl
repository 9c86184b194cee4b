// dw [columns] = Σ over rows of dy∘x·r, in groups of rows as kernels/add-bias/sum_rows.wgsl has them.
struct Params { rows: u32, columns: u32, rows_per_group: u32, first: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> r: array<f32>;
@group(0) @binding(4) var<storage, read_write> partial: array<f32>;

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
    let i = row * p.columns + column;
    sum += dy[i] * x[i] * r[row];
  }
  partial[(p.first + w.y) * p.columns + column] = sum;
}
