#if SUBGROUPS
enable subgroups;
#endif
// C [m, n] = op(A)·B, or C += …, for devices whose workgroup memory is no faster than any other: adapters on the processor. Each
// thread computes 8 rows × 4 columns; B is read as vectors, and A once per subgroup: its lanes hold one row each and broadcast.
// A as in matmul.wgsl; B [k, n] in rows of `ldb` vectors, padded to a multiple of four columns.
struct Params {
  m: u32, n: u32, k: u32, lda: u32, ldb: u32, ldc: u32, a_base: u32, b_base: u32, c_base: u32, accumulate: u32
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

const ROWS = 8u;
const WORKGROUP = 32u;

fn place_a(row: u32, depth: u32) -> u32 {
#if TRANSPOSE_A
  return p.a_base + depth * p.lda + row;
#else
  return p.a_base + row * p.lda + depth;
#endif
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) w: vec3u,
  @builtin(local_invocation_index) l: u32,
#if SUBGROUPS
  @builtin(subgroup_invocation_id) lane: u32,
#endif
) {
  let vector = w.x * WORKGROUP + l;
  let first_row = w.y * ROWS;
  let last_row = p.m - 1;
  let b_column = p.b_base / 4 + min(vector, (p.n - 1) / 4);
  var sums: array<vec4f, ROWS>;
#if SUBGROUPS
  let own_row = min(first_row + lane % ROWS, last_row);
#endif
  for (var depth = 0u; depth < p.k; depth++) {
    let columns = b[b_column + depth * p.ldb];
#if SUBGROUPS
    let own = a[place_a(own_row, depth)];
    sums[0] += subgroupBroadcast(own, 0u) * columns;
    sums[1] += subgroupBroadcast(own, 1u) * columns;
    sums[2] += subgroupBroadcast(own, 2u) * columns;
    sums[3] += subgroupBroadcast(own, 3u) * columns;
    sums[4] += subgroupBroadcast(own, 4u) * columns;
    sums[5] += subgroupBroadcast(own, 5u) * columns;
    sums[6] += subgroupBroadcast(own, 6u) * columns;
    sums[7] += subgroupBroadcast(own, 7u) * columns;
#else
    for (var i = 0u; i < ROWS; i++) {
      sums[i] += a[place_a(min(first_row + i, last_row), depth)] * columns;
    }
#endif
  }
  for (var i = 0u; i < ROWS; i++) {
    for (var j = 0u; j < 4; j++) {
      let column = 4 * vector + j;
      if (first_row + i < p.m && column < p.n) {
        let at = p.c_base + (first_row + i) * p.ldc + column;
        c[at] = sums[i][j] + select(0.0, c[at], p.accumulate == 1);
      }
    }
  }
}
