// y [rows, columns] = scale · value of the code; codes [rows, words], scales [rows, groups], one per 64 values of a row. Values of
// 8 bits are signed integers, those of 4 bits (if NF4) levels. One thread per word: 4 or 8 values.
struct Params { rows: u32, columns: u32, words: u32, groups: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> codes: array<u32>;
@group(0) @binding(2) var<storage, read> scales: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#include "../webgpu/elementwise.wgsl"

#if NF4
const PER_WORD = 8u;
const LEVELS = array<f32, 16>(
  -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
  -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
  0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0);
#else
const PER_WORD = 4u;
#endif

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let i = thread_index(w, n, l);
  let row = i / p.words;
  if (row >= p.rows) {
    return;
  }
  let first = i % p.words * PER_WORD;
  let scale = scales[row * p.groups + first / 64];
  let word = codes[i];
#if NF4
  var levels = LEVELS;
#endif
  for (var j = 0u; j < PER_WORD && first + j < p.columns; j++) {
#if NF4
    let value = levels[(word >> (4 * j)) & 15];
#else
    let value = f32(i32(word << (24 - 8 * j)) >> 24);
#endif
    y[row * p.columns + first + j] = scale * value;
  }
}
