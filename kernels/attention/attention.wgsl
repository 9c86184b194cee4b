// Causal grouped-query attention without a T×T matrix (Milakov & Gimelshein 2018; Dao et al. 2022): each thread owns one query,
// its running maximum m, sum l and output o, and takes the keys in blocks. All threads of a workgroup are at the same key of the
// same head, so rows of k and v are read once for all of them.
// One workgroup per WORKGROUP queries × head × sequence.
@group(0) @binding(1) var<storage, read> q: array<value>;
@group(0) @binding(2) var<storage, read> k: array<value>;
@group(0) @binding(3) var<storage, read> v: array<value>;
@group(0) @binding(4) var<storage, read_write> o: array<value>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
#if SEGMENTS
@group(0) @binding(6) var<storage, read> segments: array<i32>;
#endif
#if OFFSET
@group(0) @binding(6) var<storage, read> offset: array<i32>;
#endif

#include "head.wgsl"

const BLOCK = 8u;
const LOWEST = -3.0e38;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let first_query = w.x * WORKGROUP;
  let i = first_query + l;
  let head = w.y;
  let sequence = w.z;
  let numbered = p.first_sequence + sequence;
  if (i >= p.queries) {
    return;
  }
  var start = 0u;
#if OFFSET
  start = min(u32(max(offset[0], 0)), p.keys - p.queries);
#endif
  let position = start + i;
  let last = start + min(first_query + WORKGROUP, p.queries) - 1;
#if SEGMENTS
  let segment = segments[numbered * p.keys + i];
#endif
  let stride = kv_stride();
  let first_kv = place_in_kv(sequence, 0, kv_head_of(head));
  let q_head = place_in_q(sequence, i, head);
  var query: array<value, N>;
  var out: array<value, N>;
  for (var e = 0u; e < values(); e++) {
    query[e] = q[q_head + e] * p.scale;
  }
  var m = LOWEST;
  var sum = 0.0;
  for (var j = first_key(start + first_query); j <= last; j += BLOCK) {
    var score: array<f32, BLOCK>;
    var largest = m;
    for (var b = 0u; b < BLOCK; b++) {
      let key = min(j + b, last);
      var products = value();
      for (var e = 0u; e < values(); e++) {
        products += query[e] * k[first_kv + key * stride + e];
      }
      var seen = j + b <= last && visible(position, key);
#if SEGMENTS
      seen = seen && segments[numbered * p.keys + key] == segment;
#endif
      score[b] = select(LOWEST, total(products), seen);
      largest = max(largest, score[b]);
    }
    let shrink = exp(m - largest);
    m = largest;
    sum *= shrink;
    for (var e = 0u; e < values(); e++) {
      out[e] *= shrink;
    }
    for (var b = 0u; b < BLOCK; b++) {
      let weight = select(exp(score[b] - m), 0.0, score[b] == LOWEST);
      let key = min(j + b, last);
      sum += weight;
      for (var e = 0u; e < values(); e++) {
        out[e] += weight * v[first_kv + key * stride + e];
      }
    }
  }
  for (var e = 0u; e < values(); e++) {
    o[q_head + e] = out[e] / sum;
  }
  lse[place_in_stats(numbered, i, head)] = m + log(sum);
}
