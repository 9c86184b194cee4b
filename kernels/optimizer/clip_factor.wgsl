// norm = |scale|·√sumSquares, factor = scale·min(1, maxNorm/(norm + 10⁻⁶)); maxNorm 0: no clipping. One thread.
struct Params { max_norm: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> sum_squares: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
@group(0) @binding(3) var<storage, read_write> norm: array<f32>;
@group(0) @binding(4) var<storage, read_write> factor: array<f32>;

@compute @workgroup_size(1)
fn main() {
  let s = scale[0];
  let length = abs(s) * sqrt(sum_squares[0]);
  norm[0] = length;
  factor[0] = select(s * min(1.0, p.max_norm / (length + 1e-6)), s, p.max_norm == 0.0);
}
