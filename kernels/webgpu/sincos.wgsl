// (cos x, sin x) to about one unit in the last place for |x| up to 10⁵: WGSL's own may be off by 2⁻¹¹. Reduction by π/2 in
// three parts, then the polynomials of Moshier's Cephes library (sinf.c) on [−π/4, π/4].
fn cos_sin(x: f32) -> vec2f {
  let k = round(x * 0.636619772);
  let r = ((x - k * 1.5703125) - k * 4.837512969970703125e-4) - k * 7.54978995489188e-8;
  let z = r * r;
  let s = ((-1.9515295891e-4 * z + 8.3321608736e-3) * z - 1.6666654611e-1) * z * r + r;
  let c = ((2.443315711809948e-5 * z - 1.388731625493765e-3) * z + 4.166664568298827e-2) * z * z - 0.5 * z + 1.0;
  let quadrant = i32(k) & 3;
  var result = vec2f(c, s);
  if ((quadrant & 1) == 1) {
    result = vec2f(-s, c);
  }
  return select(result, -result, quadrant >= 2);
}
