#if SUBGROUPS
enable subgroups;
#endif
// C [m, n] = op(A)·op(B), or C += …, for devices whose workgroup memory is no faster than any other: adapters on the processor. Each
// thread computes ROWS rows × 4 columns, four depths at a time. What costs there is loading, done element by element; so B is read for as
// many rows as there are registers for sums, and A once per subgroup: LANES lanes, 8 if EIGHT, else 4, hold two rows each and
// broadcast. Without subgroups, and for few rows, every thread reads all of ROWS rows, at the same
// places as the others.
// A as in matmul.wgsl, in vectors of four depths if A_VEC4. B [k, n] in rows of `ldb` elements, a multiple of four, padded with zeros; or
// [n, k] if TRANSPOSE_B, in f32 or bf16 (B_BF16), where ldb, b_base and k are multiples of four.
#include "bindings.wgsl"

#if SUBGROUPS
#if EIGHT
const LANES = 8u;
#else
const LANES = 4u;
#endif
const ROWS = 2 * LANES;
#else
#const ROWS
#endif
const WORKGROUP = 32u;

#if A_VEC4
alias a_word = vec4f;
fn four_of_a(row: u32, depth: u32) -> vec4f {
  return a[(p.a_base + row * p.lda + depth) / 4];
}
#else
alias a_word = f32;
fn element_of_a(row: u32, depth: u32) -> f32 {
#if TRANSPOSE_A
  let at = p.a_base + min(depth, p.k - 1) * p.lda + row;
#else
  let at = p.a_base + row * p.lda + min(depth, p.k - 1);
#endif
  return select(0.0, a[at], depth < p.k);
}
fn four_of_a(row: u32, depth: u32) -> vec4f {
  return vec4f(
    element_of_a(row, depth), element_of_a(row, depth + 1), element_of_a(row, depth + 2), element_of_a(row, depth + 3)
  );
}
#endif

// Four depths of four columns, a vector per depth.
#if TRANSPOSE_B
#if B_BF16
alias b_word = vec2u;
fn four_of_b(column: u32, depth: u32) -> vec4f {
  let pairs = b[(p.b_base + column * p.ldb + depth) / 4];
  return bitcast<vec4f>(vec4u(pairs.x << 16, pairs.x & 0xffff0000, pairs.y << 16, pairs.y & 0xffff0000));
}
#else
alias b_word = vec4f;
fn four_of_b(column: u32, depth: u32) -> vec4f {
  return b[(p.b_base + column * p.ldb + depth) / 4];
}
#endif
fn block_of_b(vector: u32, depth: u32) -> mat4x4f {
  let first = 4 * vector;
  let last = p.n - 1;
  return transpose(mat4x4f(
    four_of_b(min(first, last), depth), four_of_b(min(first + 1, last), depth),
    four_of_b(min(first + 2, last), depth), four_of_b(min(first + 3, last), depth)
  ));
}
#else
alias b_word = vec4f;
fn four_of_b(vector: u32, depth: u32) -> vec4f {
  return b[p.b_base / 4 + min(depth, p.k - 1) * (p.ldb / 4) + vector];
}
fn block_of_b(vector: u32, depth: u32) -> mat4x4f {
  return mat4x4f(
    four_of_b(vector, depth), four_of_b(vector, depth + 1), four_of_b(vector, depth + 2), four_of_b(vector, depth + 3)
  );
}
#endif

#if SUBGROUPS
// A depth; `low` and `high` are the lane's own elements of the first LANES rows and of the second.
fn add(sums: ptr<function, array<vec4f, ROWS>>, low: f32, high: f32, columns: vec4f) {
  (*sums)[0] += subgroupBroadcast(low, 0u) * columns;
  (*sums)[1] += subgroupBroadcast(low, 1u) * columns;
  (*sums)[2] += subgroupBroadcast(low, 2u) * columns;
  (*sums)[3] += subgroupBroadcast(low, 3u) * columns;
#if EIGHT
  (*sums)[4] += subgroupBroadcast(low, 4u) * columns;
  (*sums)[5] += subgroupBroadcast(low, 5u) * columns;
  (*sums)[6] += subgroupBroadcast(low, 6u) * columns;
  (*sums)[7] += subgroupBroadcast(low, 7u) * columns;
#endif
  (*sums)[LANES] += subgroupBroadcast(high, 0u) * columns;
  (*sums)[LANES + 1] += subgroupBroadcast(high, 1u) * columns;
  (*sums)[LANES + 2] += subgroupBroadcast(high, 2u) * columns;
  (*sums)[LANES + 3] += subgroupBroadcast(high, 3u) * columns;
#if EIGHT
  (*sums)[LANES + 4] += subgroupBroadcast(high, 4u) * columns;
  (*sums)[LANES + 5] += subgroupBroadcast(high, 5u) * columns;
  (*sums)[LANES + 6] += subgroupBroadcast(high, 6u) * columns;
  (*sums)[LANES + 7] += subgroupBroadcast(high, 7u) * columns;
#endif
}
#endif

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) w: vec3u,
  @builtin(local_invocation_index) l: u32,
#if SUBGROUPS
  @builtin(subgroup_invocation_id) lane: u32,
#endif
) {
  let vector = w.x * WORKGROUP + l;
  let read_vector = min(vector, (p.n - 1) / 4);
  let first_row = w.y * ROWS;
  let last_row = p.m - 1;
  var sums: array<vec4f, ROWS>;
  for (var depth = 0u; depth < p.k; depth += 4) {
    let columns = block_of_b(read_vector, depth);
#if SUBGROUPS
    let low = four_of_a(min(first_row + lane % LANES, last_row), depth);
    let high = four_of_a(min(first_row + LANES + lane % LANES, last_row), depth);
    add(&sums, low.x, high.x, columns[0]);
    add(&sums, low.y, high.y, columns[1]);
    add(&sums, low.z, high.z, columns[2]);
    add(&sums, low.w, high.w, columns[3]);
#else
    for (var i = 0u; i < ROWS; i++) {
      sums[i] += columns * four_of_a(min(first_row + i, last_row), depth);
    }
#endif
  }
  // A copy: what is indexed by a variable lies in memory, and the sums would too.
  let results = sums;
  for (var i = 0u; i < ROWS; i++) {
    let row = first_row + i;
    for (var j = 0u; j < 4; j++) {
      let column = 4 * vector + j;
      if (row < p.m && column < p.n) {
        let at = p.c_base + row * p.ldc + column;
        c[at] = results[i][j] + select(0.0, c[at], p.accumulate == 1);
      }
    }
  }
}
