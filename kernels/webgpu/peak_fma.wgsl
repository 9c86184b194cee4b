// What the device computes at most: each thread runs eight independent chains of multiply-adds on vectors of four, `rounds` long. Each
// chain tends to 1; their sum is stored so that nothing can be left out.
struct Params { rounds: u32, factor: f32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;

#include "elementwise.wgsl"

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, @builtin(local_invocation_index) l: u32) {
  let thread = thread_index(w, n, l);
  let x = vec4f(p.factor);
  let y = vec4f(1.0 - p.factor);
  var a = vec4f(f32(l));
  var b = a + 1.0;
  var c = a + 2.0;
  var d = a + 3.0;
  var e = a + 4.0;
  var f = a + 5.0;
  var g = a + 6.0;
  var h = a + 7.0;
  for (var i = 0u; i < p.rounds; i++) {
    a = fma(a, x, y);
    b = fma(b, x, y);
    c = fma(c, x, y);
    d = fma(d, x, y);
    e = fma(e, x, y);
    f = fma(f, x, y);
    g = fma(g, x, y);
    h = fma(h, x, y);
  }
  let all = a + b + c + d + e + f + g + h;
  sums[thread] = all.x + all.y + all.z + all.w;
}
