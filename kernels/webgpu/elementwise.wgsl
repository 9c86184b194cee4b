// Element-wise kernels: one thread per `value`, four elements where the length is a multiple of four, else one. Workgroups
// beyond what a dimension holds are folded into the second.
// A `word` is as wide and moves bits.
#if VEC4
alias value = vec4f;
alias word = vec4u;
#else
alias value = f32;
alias word = u32;
#endif

#include "workgroup.wgsl"

fn thread_index(workgroup: vec3u, workgroups: vec3u, local: u32) -> u32 {
  return (workgroup.y * workgroups.x + workgroup.x) * WORKGROUP + local;
}
