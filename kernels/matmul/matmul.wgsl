#if HALF
enable f16;
#endif
// C [m, n] = op(A)·op(B), or C += …, tiled: a workgroup of 16 × 16 threads computes a tile of 16·TM × 16·TN, each thread TM × TN
// of it in registers, from slices of A and B of depth 16 in workgroup memory (Volkov & Demmel 2008). TM and TN are 4 or 8.
// With HALF the slices are in f16: operands are rounded to it, sums stay in f32.
// A lies [m, k] in rows of `lda` elements, or [k, m] if TRANSPOSE_A; B [k, n] in rows of `ldb`, or [n, k] if TRANSPOSE_B.
// The *_base are where the first element is in what is bound. The threads' blocks of four rows and columns lie interleaved,
// so that threads side by side read workgroup memory side by side. Vectors there are written whole: writing one component may
// touch the others.
#include "bindings.wgsl"

#include "operands.wgsl"
#include "place.wgsl"

#const TM
#const TN
const DEPTH = 16u;
const ROWS = 16u * TM;
const COLUMNS = 16u * TN;

#if HALF
alias kept = f16;
#else
alias kept = f32;
#endif
var<workgroup> a_slice: array<vec4<kept>, DEPTH * ROWS / 4>;
var<workgroup> b_slice: array<vec4<kept>, DEPTH * COLUMNS / 4>;

// Element `row`, `depth` of op(A), or the four from there on along A's rows; 0 beyond its edges.
#if A_VEC4
fn fetch_a(row: u32, depth: u32) -> vec4f {
  return select(vec4f(), a[place_a(row, depth) / 4], row < p.m && depth < p.k);
}
#else
fn fetch_a(row: u32, depth: u32) -> f32 {
  return select(0.0, element_of_a(place_a(row, depth)), row < p.m && depth < p.k);
}
#endif

#if B_VEC4
fn fetch_b(depth: u32, column: u32) -> vec4f {
  return select(vec4f(), b[place_b(depth, column) / 4], column < p.n && depth < p.k);
}
#else
fn fetch_b(depth: u32, column: u32) -> f32 {
  return select(0.0, element_of_b(place_b(depth, column)), column < p.n && depth < p.k);
}
#endif

fn store(row: u32, column: u32, value: f32) {
  if (row < p.m && column < p.n) {
    let at = p.c_base + row * p.ldc + column;
    c[at] = value + select(0.0, c[at], p.accumulate == 1);
  }
}

// How far a loop goes of which `needed` turns matter. Where shaders are compiled for the processor it stays a loop, since its end is not
// known: unrolled, 8 × 8 results take ten seconds to compile.
fn rolled(most: u32, needed: u32) -> u32 {
#if ROLLED
  return min(most, needed);
#else
  return most;
#endif
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(local_invocation_index) l: u32) {
  let first_row = w.y * ROWS;
  let first_column = w.x * COLUMNS;
  let thread_row = l / 16;
  let thread_column = l % 16;
  var sums: array<array<vec4f, TN / 4>, TM>;
  for (var depth = 0u; depth < p.k; depth += DEPTH) {
#if A_VEC4
#if TRANSPOSE_A
    for (var i = l; i < DEPTH * ROWS / 4; i += 256) {
      a_slice[i] = vec4<kept>(fetch_a(first_row + 4 * (i % (ROWS / 4)), depth + i / (ROWS / 4)));
    }
#else
    for (var i = l; i < DEPTH * ROWS / 16; i += 256) {
      let row = 4 * (i / (DEPTH / 4));
      let slice = 4 * (i % (DEPTH / 4));
      let at = first_row + row;
      let block = transpose(mat4x4f(
        fetch_a(at, depth + slice), fetch_a(at + 1, depth + slice), fetch_a(at + 2, depth + slice), fetch_a(at + 3, depth + slice)
      ));
      a_slice[(slice * ROWS + row) / 4] = vec4<kept>(block[0]);
      a_slice[((slice + 1) * ROWS + row) / 4] = vec4<kept>(block[1]);
      a_slice[((slice + 2) * ROWS + row) / 4] = vec4<kept>(block[2]);
      a_slice[((slice + 3) * ROWS + row) / 4] = vec4<kept>(block[3]);
    }
#endif
#else
    for (var i = l; i < DEPTH * ROWS / 4; i += 256) {
#if TRANSPOSE_A
      let row = 4 * (i % (ROWS / 4));
      let slice = i / (ROWS / 4);
#else
      let row = 4 * (i / DEPTH);
      let slice = i % DEPTH;
#endif
      let at = first_row + row;
      a_slice[(slice * ROWS + row) / 4] = vec4<kept>(vec4f(
        fetch_a(at, depth + slice), fetch_a(at + 1, depth + slice), fetch_a(at + 2, depth + slice), fetch_a(at + 3, depth + slice)
      ));
    }
#endif
#if B_VEC4
#if TRANSPOSE_B
    for (var i = l; i < DEPTH * COLUMNS / 16; i += 256) {
      let column = 4 * (i / (DEPTH / 4));
      let slice = 4 * (i % (DEPTH / 4));
      let at = first_column + column;
      let block = transpose(mat4x4f(
        fetch_b(depth + slice, at), fetch_b(depth + slice, at + 1), fetch_b(depth + slice, at + 2), fetch_b(depth + slice, at + 3)
      ));
      b_slice[(slice * COLUMNS + column) / 4] = vec4<kept>(block[0]);
      b_slice[((slice + 1) * COLUMNS + column) / 4] = vec4<kept>(block[1]);
      b_slice[((slice + 2) * COLUMNS + column) / 4] = vec4<kept>(block[2]);
      b_slice[((slice + 3) * COLUMNS + column) / 4] = vec4<kept>(block[3]);
    }
#else
    for (var i = l; i < DEPTH * COLUMNS / 4; i += 256) {
      b_slice[i] = vec4<kept>(fetch_b(depth + i / (COLUMNS / 4), first_column + 4 * (i % (COLUMNS / 4))));
    }
#endif
#else
    for (var i = l; i < DEPTH * COLUMNS / 4; i += 256) {
#if TRANSPOSE_B
      let column = 4 * (i / DEPTH);
      let slice = i % DEPTH;
#else
      let column = 4 * (i % (COLUMNS / 4));
      let slice = i / (COLUMNS / 4);
#endif
      let at = first_column + column;
      b_slice[(slice * COLUMNS + column) / 4] = vec4<kept>(vec4f(
        fetch_b(depth + slice, at), fetch_b(depth + slice, at + 1), fetch_b(depth + slice, at + 2), fetch_b(depth + slice, at + 3)
      ));
    }
#endif
    workgroupBarrier();
    let slices = rolled(DEPTH, p.k - depth);
    for (var slice = 0u; slice < slices; slice++) {
      var columns: array<vec4f, TN / 4>;
      for (var j = 0u; j < TN / 4; j++) {
        columns[j] = vec4f(b_slice[slice * COLUMNS / 4 + j * 16 + thread_column]);
      }
      for (var i = 0u; i < TM / 4; i++) {
        let rows = vec4f(a_slice[slice * ROWS / 4 + i * 16 + thread_row]);
        for (var j = 0u; j < TN / 4; j++) {
          sums[4 * i][j] += rows.x * columns[j];
          sums[4 * i + 1][j] += rows.y * columns[j];
          sums[4 * i + 2][j] += rows.z * columns[j];
          sums[4 * i + 3][j] += rows.w * columns[j];
        }
      }
    }
    workgroupBarrier();
  }
  let results = sums;
  for (var i = 0u; i < rolled(TM, p.m); i++) {
    let row = first_row + (i / 4) * 64 + thread_row * 4 + i % 4;
    for (var j = 0u; j < TN / 4; j++) {
      let column = first_column + j * 64 + thread_column * 4;
      store(row, column, results[i][j].x);
      store(row, column + 1, results[i][j].y);
      store(row, column + 2, results[i][j].z);
      store(row, column + 3, results[i][j].w);
    }
  }
}
