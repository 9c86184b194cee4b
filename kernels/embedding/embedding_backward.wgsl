// dtable rows from_row … from_row + rows − 1 += Σ of dy over the positions with their ids: the position where an id stands first adds
// up dy for all that have it, so that no two workgroups write one row and the order of the sum is fixed. One workgroup per position.
struct Params { count: u32, columns: u32, from_row: u32, rows: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> dy: array<f32>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> dtable: array<f32>;

#include "../webgpu/reduce.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, thread: Thread) {
  let l = thread.local;
  let position = w.y * n.x + w.x;
  if (position >= p.count) {
    return;
  }
  let id = ids[position];
  var earlier = 0.0;
  for (var i = l; i < position; i += WORKGROUP) {
    if (ids[i] == id) {
      earlier = 1.0;
    }
  }
  if (workgroup_max(earlier, thread) > 0.0 || u32(id) - p.from_row >= p.rows) {
    return;
  }
  let row = (u32(id) - p.from_row) * p.columns;
  for (var column = l; column < p.columns; column += WORKGROUP) {
    var sum = 0.0;
    for (var i = position; i < p.count; i++) {
      if (ids[i] == id) {
        sum += dy[i * p.columns + column];
      }
    }
    dtable[row + column] += sum;
  }
}
