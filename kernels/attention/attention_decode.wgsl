// Attention for few queries over many keys, as in decoding (attention.wgsl is for many): a workgroup shares one query of one head.
// It takes WORKGROUP keys at a time, a thread each for the scores; then threads side by side read rows of v side by side, in as
// many slices of the keys as there are threads for.
// Operands and results as attention.wgsl; one workgroup per head × query × sequence.
@group(0) @binding(1) var<storage, read> q: array<value>;
@group(0) @binding(2) var<storage, read> k: array<value>;
@group(0) @binding(3) var<storage, read> v: array<value>;
@group(0) @binding(4) var<storage, read_write> o: array<value>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;
#if OFFSET
@group(0) @binding(6) var<storage, read> offset: array<i32>;
#endif

#include "head.wgsl"
#include "../webgpu/reduce.wgsl"

const LOWEST = -3.0e38;

var<workgroup> first_position: u32;
var<workgroup> query: array<value, N>;
var<workgroup> weights: array<f32, WORKGROUP>;
var<workgroup> parts: array<value, WORKGROUP>;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, thread: Thread) {
  let l = thread.local;
  let head = w.x;
  let i = w.y;
  let sequence = w.z;
  let numbered = p.first_sequence + sequence;
  let stride = kv_stride();
  let first_kv = place_in_kv(sequence, 0, kv_head_of(head));
  let q_head = place_in_q(sequence, i, head);
  for (var e = l; e < values(); e += WORKGROUP) {
    query[e] = q[q_head + e] * p.scale;
  }
  if (l == 0) {
    first_position = 0;
#if OFFSET
    first_position = min(u32(max(offset[0], 0)), p.keys - p.queries);
#endif
  }
  let position = workgroupUniformLoad(&first_position) + i;
  let slices = WORKGROUP / values();
  let slice = l / values();
  let own_value = l % values();
  var m = LOWEST;
  var sum = 0.0;
  var out = value();
  for (var first = first_key(position); first <= position; first += WORKGROUP) {
    let seen = first + l <= position;
    var score = LOWEST;
    if (seen) {
      var products = value();
      for (var e = 0u; e < values(); e++) {
        products += query[e] * k[first_kv + (first + l) * stride + e];
      }
      score = total(products);
    }
    let largest = max(m, workgroup_max(score, thread));
    let weight = select(0.0, exp(score - largest), seen);
    weights[l] = weight;
    let shrink = exp(m - largest);
    m = largest;
    sum = sum * shrink + workgroup_sum(weight, thread);
    out *= shrink;
    if (slice < slices) {
      for (var j = slice; j < min(WORKGROUP, position + 1 - first); j += slices) {
        out += weights[j] * v[first_kv + (first + j) * stride + own_value];
      }
    }
  }
  parts[l] = out;
  workgroupBarrier();
  if (l < values()) {
    var result = value();
    for (var s = 0u; s < slices; s++) {
      result += parts[s * values() + l];
    }
    o[q_head + l] = result / sum;
  }
  if (l == 0) {
    lse[place_in_stats(numbered, i, head)] = m + log(sum);
  }
}
