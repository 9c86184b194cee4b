// Attention for few queries over many keys, as in decoding (attention.wgsl is for many): a workgroup shares one query of one head.
// It takes WORKGROUP keys at a time, a thread each for the scores; then threads side by side read rows of v side by side, in as
// many slices of the keys as there are threads for.
// Operands and results as attention.wgsl; one workgroup per head × query × sequence.
struct Params { queries: u32, keys: u32, heads: u32, kv_heads: u32, window: u32, scale: f32, values: u32, first_sequence: u32 }
@group(0) @binding(0) var<uniform> p: Params;
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
  let kv_stride = p.kv_heads * values();
  let kv_head = sequence * p.keys * kv_stride + (head / (p.heads / p.kv_heads)) * values();
  let q_head = ((sequence * p.queries + i) * p.heads + head) * values();
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
        products += query[e] * k[kv_head + (first + l) * kv_stride + e];
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
        out += weights[j] * v[kv_head + (first + j) * kv_stride + own_value];
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
    lse[(numbered * p.heads + head) * p.queries + i] = m + log(sum);
  }
}
