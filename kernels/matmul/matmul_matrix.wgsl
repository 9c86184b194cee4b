#if !EMULATED
enable subgroups;
#if UNPREFIXED
enable subgroup_matrix;
#else
enable chromium_experimental_subgroup_matrix;
#endif
#endif
#if HALF
enable f16;
#endif
// C [m, n] = op(A)·op(B), or C += …, on subgroups' matrix units: a workgroup of four subgroups computes a tile of 64 × 64, each subgroup
// 32 × 32 of it, from slices of A and B of depth 16 in workgroup memory. SUBGROUP is the largest size that
// subgroups may have; where they are smaller there are more of them, and the fifth and later ones only help loading. With HALF the units take f16: operands are rounded to it.
// Operands as in matmul.wgsl.
#include "bindings.wgsl"

#include "operands.wgsl"
#include "place.wgsl"

#const UNIT_M
#const UNIT_N
#const UNIT_K
#const SUBGROUP
const PARTS = 4u;
const WORKGROUP = PARTS * SUBGROUP;
const DEPTH = 16u;
const TILE = 64u;
const PART = 32u;
const ROWS = PART / UNIT_M;
const COLUMNS = PART / UNIT_N;
#if HALF
alias component = f16;
#else
alias component = f32;
#endif

var<workgroup> a_slice: array<component, TILE * DEPTH>;
var<workgroup> b_slice: array<component, DEPTH * TILE>;
// A unit's results per subgroup.
var<workgroup> results: array<f32, PARTS * UNIT_M * UNIT_N>;

#include "subgroup_matrix.wgsl"

fn fetch_a(row: u32, depth: u32) -> component {
  return component(select(0.0, element_of_a(place_a(row, depth)), row < p.m && depth < p.k));
}

fn fetch_b(depth: u32, column: u32) -> component {
  return component(select(0.0, element_of_b(place_b(depth, column)), column < p.n && depth < p.k));
}

@compute @workgroup_size(WORKGROUP)
fn main(
  @builtin(workgroup_id) w: vec3u,
  @builtin(local_invocation_index) l: u32,
#if !EMULATED
  @builtin(subgroup_id) part: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) lanes: u32,
#endif
) {
  let first_row = w.y * TILE;
  let first_column = w.x * TILE;
#if EMULATED
  let part = l / SUBGROUP;
  let lane = l % SUBGROUP;
  let lanes = SUBGROUP;
#endif
  let part_row = part / 2 * PART;
  let part_column = part % 2 * PART;
  var sums: array<Sums, ROWS * COLUMNS>;
  for (var depth = 0u; depth < p.k; depth += DEPTH) {
    for (var i = l; i < TILE * DEPTH; i += WORKGROUP) {
#if TRANSPOSE_A
      let row = i % TILE;
      let slice = i / TILE;
#else
      let row = i / DEPTH;
      let slice = i % DEPTH;
#endif
      a_slice[row * DEPTH + slice] = fetch_a(first_row + row, depth + slice);
    }
    for (var i = l; i < TILE * DEPTH; i += WORKGROUP) {
#if TRANSPOSE_B
      let column = i / DEPTH;
      let slice = i % DEPTH;
#else
      let column = i % TILE;
      let slice = i / TILE;
#endif
      b_slice[slice * TILE + column] = fetch_b(depth + slice, first_column + column);
    }
    workgroupBarrier();
    for (var slice = 0u; slice < DEPTH && part < PARTS; slice += UNIT_K) {
      for (var i = 0u; i < ROWS; i++) {
        let left = load_left((part_row + i * UNIT_M) * DEPTH + slice);
        for (var j = 0u; j < COLUMNS; j++) {
          let right = load_right(slice * TILE + part_column + j * UNIT_N);
          sums[i * COLUMNS + j] = multiply_add(left, right, sums[i * COLUMNS + j], lane);
        }
      }
    }
    workgroupBarrier();
  }
  let first_result = part * UNIT_M * UNIT_N;
  for (var i = 0u; i < ROWS * COLUMNS; i++) {
    if (part < PARTS) {
      keep(first_result, sums[i], lane);
    }
    workgroupBarrier();
    for (var j = lane; j < UNIT_M * UNIT_N && part < PARTS; j += lanes) {
      let row = first_row + part_row + i / COLUMNS * UNIT_M + j / UNIT_N;
      let column = first_column + part_column + i % COLUMNS * UNIT_N + j % UNIT_N;
      if (row < p.m && column < p.n) {
        let at = p.c_base + row * p.ldc + column;
        c[at] = results[first_result + j] + select(0.0, c[at], p.accumulate == 1);
      }
    }
    workgroupBarrier();
  }
}
