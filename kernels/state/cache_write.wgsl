// Rows x [sequences, tokens, D] into the cache [sequences, capacity, D] from row `offset` of each sequence on. Nothing is written
// if they don't fit. One thread per word of x; `columns` is D in words.
struct Params { sequences: u32, tokens: u32, capacity: u32, columns: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> cache: array<word>;
@group(0) @binding(2) var<storage, read> x: array<word>;
@group(0) @binding(3) var<storage, read> offset: array<i32>;

#include "../webgpu/elementwise.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  let row = i / p.columns;
  let sequence = row / p.tokens;
  let at = offset[0];
  if (sequence < p.sequences && at >= 0 && u32(at) + p.tokens <= p.capacity) {
    let to = sequence * p.capacity + u32(at) + row % p.tokens;
    cache[to * p.columns + i % p.columns] = x[i];
  }
}
