// Softmax statistics over one panel of the vocabulary: columns from_column … from_column + columns − 1 of logits [rows, vocabulary].
// A row's state is (largest logit, Σ exp(logit − largest), target's logit) of the panels so far; the last panel turns it into
// lse = log-sum-exp and nll = lse − target's logit (0 where the target is IGNORE, NaN where it is no id). One workgroup per row.
struct Params { rows: u32, columns: u32, from_column: u32, vocabulary: u32, first_row: u32, nan: u32 }
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<i32>;
@group(0) @binding(3) var<storage, read_write> states: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> nll: array<f32>;
@group(0) @binding(5) var<storage, read_write> lse: array<f32>;

#include "../webgpu/reduce.wgsl"

const LOWEST = -3.0e38;
const IGNORE = -100i;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(workgroup_id) w: vec3u, @builtin(num_workgroups) n: vec3u, thread: Thread) {
  let l = thread.local;
  let row = w.y * n.x + w.x;
  if (row >= p.rows) {
    return;
  }
  let first = row * p.columns;
  var state = vec4f(LOWEST, 0.0, 0.0, 0.0);
  if (p.from_column > 0) {
    state = states[row];
  }
  var largest = state.x;
  for (var j = l; j < p.columns; j += WORKGROUP) {
    largest = max(largest, logits[first + j]);
  }
  largest = workgroup_max(largest, thread);
  var sum = 0.0;
  for (var j = l; j < p.columns; j += WORKGROUP) {
    sum += exp(logits[first + j] - largest);
  }
  sum = workgroup_sum(sum, thread) + state.y * exp(state.x - largest);
  if (l > 0) {
    return;
  }
  let id = targets[p.first_row + row];
  let within = u32(id) - p.from_column;
  let of_target = select(state.z, logits[first + min(within, p.columns - 1)], within < p.columns);
  if (p.from_column + p.columns < p.vocabulary) {
    states[row] = vec4f(largest, sum, of_target, 0.0);
    return;
  }
  let log_sum = largest + log(sum);
  var loss = log_sum - of_target;
  if (id == IGNORE) {
    loss = 0.0;
  } else if (u32(id) >= p.vocabulary) {
    loss = bitcast<f32>(p.nan);
  }
  lse[p.first_row + row] = log_sum;
  nll[p.first_row + row] = loss;
}
