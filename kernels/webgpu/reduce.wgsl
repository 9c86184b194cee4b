// Sum and maximum over a workgroup, as a tree in workgroup memory. Every thread calls it, and every thread gets the result.
#include "workgroup.wgsl"

var<workgroup> partials: array<f32, WORKGROUP>;

fn workgroup_sum(value: f32, local: u32) -> f32 {
  partials[local] = value;
  workgroupBarrier();
  for (var width = WORKGROUP / 2; width > 0; width /= 2) {
    if (local < width) {
      partials[local] += partials[local + width];
    }
    workgroupBarrier();
  }
  let total = partials[0];
  workgroupBarrier();
  return total;
}

fn workgroup_max(value: f32, local: u32) -> f32 {
  partials[local] = value;
  workgroupBarrier();
  for (var width = WORKGROUP / 2; width > 0; width /= 2) {
    if (local < width) {
      partials[local] = max(partials[local], partials[local + width]);
    }
    workgroupBarrier();
  }
  let largest = partials[0];
  workgroupBarrier();
  return largest;
}
