// y [count, columns] = table at ids, for the ids that lie in rows from … from + rows − 1 of the table: the part of it that is
// bound. Ids outside of the whole table of `vocabulary` rows give NaN. One thread per word of y; `columns` are counted in words, and
// if WIDEN in elements: the table is bf16 then, and y f32.
struct Params { count: u32, columns: u32, from_row: u32, rows: u32, vocabulary: u32, nan: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> table: array<word>;
@group(0) @binding(2) var<storage, read> ids: array<i32>;
@group(0) @binding(3) var<storage, read_write> y: array<word>;

#include "../webgpu/elementwise.wgsl"
#if WIDEN
#include "../webgpu/bf16.wgsl"
#endif

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  if (i >= p.count * p.columns) {
    return;
  }
  let id = u32(ids[i / p.columns]);
  if (id - p.from_row < p.rows) {
    let at = (id - p.from_row) * p.columns + i % p.columns;
#if WIDEN
    y[i] = bitcast<u32>(widen(table[at / 2], at));
#else
    y[i] = table[at];
#endif
  } else if (id >= p.vocabulary) {
    y[i] = word(p.nan);
  }
}
