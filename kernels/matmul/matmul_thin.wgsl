// C [m, n] = A [m, k]·Bᵀ, B [n, k], for few rows, as in decoding: one workgroup per column and row of C reads its row of B side by
// side and adds up.
#include "bindings.wgsl"

#include "operands.wgsl"
#include "../webgpu/reduce.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, thread: Thread) {
  let l = thread.local;
  let i = w.y * n.x + w.x;
  let column = i / p.m;
  let row = i % p.m;
  if (column >= p.n) {
    return;
  }
  var sum = 0.0;
  for (var depth = l; depth < p.k; depth += WORKGROUP) {
    sum += element_of_a(p.a_base + row * p.lda + depth) * element_of_b(p.b_base + column * p.ldb + depth);
  }
  let total = workgroup_sum(sum, thread);
  if (l == 0) {
    let at = p.c_base + row * p.ldc + column;
    c[at] = total + select(0.0, c[at], p.accumulate == 1);
  }
}
