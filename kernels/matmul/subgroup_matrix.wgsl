// Matrices that the lanes of a subgroup hold and multiply together: left [UNIT_M, UNIT_K] and right [UNIT_K, UNIT_N] of components, their
// sums [UNIT_M, UNIT_N] in f32. EMULATED, to test what is around them on devices without such units: left and right stay where they are,
// and each lane has a few of the sums.
#if EMULATED
alias Left = u32;
alias Right = u32;
const OWN = UNIT_M * UNIT_N / SUBGROUP;
alias Sums = array<f32, OWN>;

fn load_left(first: u32) -> Left {
  return first;
}

fn load_right(first: u32) -> Right {
  return first;
}

fn multiply_add(left: Left, right: Right, before: Sums, lane: u32) -> Sums {
  var sums = before;
  for (var i = 0u; i < OWN; i++) {
    let row = (lane * OWN + i) / UNIT_N;
    let column = (lane * OWN + i) % UNIT_N;
    for (var k = 0u; k < min(UNIT_K, p.k); k++) { // beyond are zeros
      sums[i] += f32(a_slice[left + row * DEPTH + k]) * f32(b_slice[right + k * TILE + column]);
    }
  }
  return sums;
}

fn keep(first: u32, sums: Sums, lane: u32) {
  for (var i = 0u; i < OWN; i++) {
    results[first + lane * OWN + i] = sums[i];
  }
}
#else
// The types name columns before rows.
alias Left = subgroup_matrix_left<component, UNIT_K, UNIT_M>;
alias Right = subgroup_matrix_right<component, UNIT_N, UNIT_K>;
alias Sums = subgroup_matrix_result<f32, UNIT_N, UNIT_M>;

fn load_left(first: u32) -> Left {
  return subgroupMatrixLoad<Left, row_major>(&a_slice, first, DEPTH);
}

fn load_right(first: u32) -> Right {
  return subgroupMatrixLoad<Right, row_major>(&b_slice, first, TILE);
}

fn multiply_add(left: Left, right: Right, before: Sums, lane: u32) -> Sums {
  return subgroupMatrixMultiplyAccumulate(left, right, before);
}

fn keep(first: u32, sums: Sums, lane: u32) {
  subgroupMatrixStore<row_major>(&results, first, sums, UNIT_N);
}
#endif
