// dq_i = scale Σ_j ds_ij k_j with p_ij = exp(q_i·k_j·scale − lse_i), ds_ij = p_ij (do_i·v_j − do_i·o_i). Each thread owns one
// query; grid as attention.wgsl.
@group(0) @binding(1) var<storage, read> dout: array<value>;
@group(0) @binding(2) var<storage, read> q: array<value>;
@group(0) @binding(3) var<storage, read> k: array<value>;
@group(0) @binding(4) var<storage, read> v: array<value>;
@group(0) @binding(5) var<storage, read> stats: array<vec2f>;
@group(0) @binding(6) var<storage, read_write> dq: array<value>;
#if SEGMENTS
@group(0) @binding(7) var<storage, read> segments: array<i32>;
#endif

#include "head.wgsl"

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
  let last = min(first_query + WORKGROUP, p.queries) - 1;
#if SEGMENTS
  let segment = segments[numbered * p.queries + i];
#endif
  let stride = kv_stride();
  let first_kv = place_in_kv(sequence, 0, kv_head_of(head));
  let q_head = place_in_q(sequence, i, head);
  let stat = stats[place_in_stats(numbered, i, head)];
  var query: array<value, N>;
  var upstream: array<value, N>;
  var gradient: array<value, N>;
  for (var e = 0u; e < values(); e++) {
    query[e] = q[q_head + e] * p.scale;
    upstream[e] = dout[q_head + e];
  }
  for (var j = first_key(first_query); j <= last; j++) {
    let key = first_kv + j * stride;
    var scores = value();
    var products = value();
    for (var e = 0u; e < values(); e++) {
      scores += query[e] * k[key + e];
      products += upstream[e] * v[key + e];
    }
    var seen = visible(i, j);
#if SEGMENTS
    seen = seen && segments[numbered * p.queries + j] == segment;
#endif
    let weight = select(0.0, exp(min(total(scores) - stat.x, 0.0)), seen);
    let ds = weight * (total(products) - stat.y) * p.scale;
    for (var e = 0u; e < values(); e++) {
      gradient[e] += ds * k[key + e];
    }
  }
  for (var e = 0u; e < values(); e++) {
    dq[q_head + e] = gradient[e];
  }
}
