// Sum and maximum over a workgroup. Every thread calls it, and every thread gets the result: first over subgroups, whose results go
// through workgroup memory (SUBGROUP_REDUCE), or as a tree in workgroup memory.
#if SUBGROUP_REDUCE
enable subgroups;
#endif
#include "workgroup.wgsl"

struct Thread {
  @builtin(local_invocation_index) local: u32,
#if SUBGROUP_REDUCE
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_size) lanes: u32,
#endif
}

var<workgroup> partials: array<f32, WORKGROUP>;

#if SUBGROUP_REDUCE
// One lane of each subgroup leaves its result, wherever the subgroup lies in the workgroup; the others leave what changes nothing.
fn workgroup_sum(value: f32, thread: Thread) -> f32 {
  let own = subgroupAdd(value);
  partials[thread.local] = select(0.0, own, subgroupElect());
  workgroupBarrier();
  var total = 0.0;
  for (var i = thread.lane; i < WORKGROUP; i += thread.lanes) {
    total += partials[i];
  }
  total = subgroupAdd(total);
  workgroupBarrier();
  return total;
}

fn workgroup_max(value: f32, thread: Thread) -> f32 {
  partials[thread.local] = subgroupMax(value);
  workgroupBarrier();
  var largest = value;
  for (var i = thread.lane; i < WORKGROUP; i += thread.lanes) {
    largest = max(largest, partials[i]);
  }
  largest = subgroupMax(largest);
  workgroupBarrier();
  return largest;
}
#else
fn workgroup_sum(value: f32, thread: Thread) -> f32 {
  let local = thread.local;
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

fn workgroup_max(value: f32, thread: Thread) -> f32 {
  let local = thread.local;
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
#endif
