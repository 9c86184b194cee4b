// dv_j = Σ_i p_ij do_i and dk_j = scale Σ_i ds_ij q_i (p and ds as in attention_backward_query.wgsl), over the queries of all heads
// that share the key. Each thread owns one key; one workgroup per WORKGROUP keys × kv head × sequence.
@group(0) @binding(1) var<storage, read> dout: array<value>;
@group(0) @binding(2) var<storage, read> q: array<value>;
@group(0) @binding(3) var<storage, read> k: array<value>;
@group(0) @binding(4) var<storage, read> v: array<value>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> dk: array<value>;
@group(0) @binding(7) var<storage, read_write> dv: array<value>;
#if SEGMENTS
@group(0) @binding(8) var<storage, read> segments: array<i32>;
#endif

#include "head.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let first_of_group = w.x * WORKGROUP;
  let j = first_of_group + l;
  let kv_head = w.y;
  let sequence = w.z;
  let numbered = p.first_sequence + sequence;
  if (j >= p.queries) {
    return;
  }
  let last_of_group = min(first_of_group + WORKGROUP, p.queries) - 1;
  let last = select(p.queries - 1, min(p.queries, last_of_group + p.window) - 1, p.window > 0);
#if SEGMENTS
  let segment = segments[numbered * p.queries + j];
#endif
  let at = place_in_kv(sequence, j, kv_head);
  let group = p.heads / p.kv_heads;
  var key: array<value, N>;
  var key_values: array<value, N>;
  var key_gradient: array<value, N>;
  var value_gradient: array<value, N>;
  for (var e = 0u; e < values(); e++) {
    key[e] = k[at + e] * p.scale;
    key_values[e] = v[at + e];
  }
  for (var head = kv_head * group; head < (kv_head + 1) * group; head++) {
    for (var i = first_of_group; i <= last; i++) {
      let query = place_in_q(sequence, i, head);
      let stat = stats[place_in_stats(numbered, i, head)];
      var scores = value();
      var products = value();
      for (var e = 0u; e < values(); e++) {
        scores += key[e] * q[query + e];
        products += key_values[e] * dout[query + e];
      }
      var seen = visible(i, j);
#if SEGMENTS
      seen = seen && segments[numbered * p.queries + i] == segment;
#endif
      let weight = select(0.0, exp(min(total(scores) - stat.x, 0.0)), seen);
      let ds = weight * (total(products) - stat.y) * p.scale;
      for (var e = 0u; e < values(); e++) {
        value_gradient[e] += weight * dout[query + e];
        key_gradient[e] += ds * q[query + e];
      }
    }
  }
  for (var e = 0u; e < values(); e++) {
    dk[at + e] = key_gradient[e];
    dv[at + e] = value_gradient[e];
  }
}
