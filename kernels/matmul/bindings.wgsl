// What every product is given: extents and leading dimensions in elements, where the first element of each operand is in what is
// bound, and whether C is added to.
struct Params {
  m: u32, n: u32, k: u32, lda: u32, ldb: u32, ldc: u32, a_base: u32, b_base: u32, c_base: u32, accumulate: u32
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> a: array<a_word>;
@group(0) @binding(2) var<storage, read> b: array<b_word>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;
