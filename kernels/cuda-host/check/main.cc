// Checks the executor against itself and plain loops: prints a line of JSON per check, {"name", "got"}: what the launch reports ("" if
// nothing), or for values the largest difference from what they should be; of tensor maps, what the driver named as argument answers. The
// expectations are in packages/backend-cuda/test.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "checks.h"
#include "kernels.h"

using namespace slayer;

void print(const char* name, const std::string& got) { std::printf("{\"name\": \"%s\", \"got\": \"%s\"}\n", name, got.c_str()); }

namespace {

std::vector<float> out(64 * 64);
alignas(16) std::array<cuda::bf16, 16 * 64> a;
alignas(16) std::array<cuda::bf16, 64 * 64> b;

std::string launch(const char* kernel, unsigned threads, bool transposed = false) {
  const cuda::CheckArgs args{out.data(), a.data(), b.data(), transposed};
  try {
    host::executor().launch(kernel, {1}, {threads}, 16 << 10, &args, sizeof args, false);
  } catch (const host::LaunchError& error) {
    return error.what();
  }
  return "";
}

template <class F>
void compare(const char* name, const std::string& problem, int n, F expected) {
  double worst = 0;
  for (int i = 0; i < n; i++) worst = std::max(worst, std::fabs(double{out[static_cast<size_t>(i)]} - expected(i)));
  print(name, problem.empty() ? std::to_string(worst) : problem);
}

double at_a(int i, int k) { return cuda::to_float(a[static_cast<size_t>(i * 64 + k)]); }
double at_b(int i, int j) { return cuda::to_float(b[static_cast<size_t>(i * 64 + j)]); }

}  // namespace

int main(int count, char** arguments) {
  // Small integers: exact in bf16, and so are their sums in f32.
  for (size_t i = 0; i < a.size(); i++) a[i] = cuda::from_float<cuda::bf16>(static_cast<float>(i * 7 % 13) - 6);
  for (size_t i = 0; i < b.size(); i++) b[i] = cuda::from_float<cuda::bf16>(static_cast<float>(i * 5 % 17) - 8);

  std::string problem = launch("neighbours", 64);
  compare("neighbours", problem, 64, [](int t) { return (t + 1) % 64; });
  problem = launch("neighbours_in_warp", 64);
  compare("neighbours_in_warp", problem, 64, [](int t) { return t ^ 1; });
  problem = launch("votes", 64);
  compare("votes", problem, 64, [](int t) { return 0x2222 + (t ^ 3); });
  for (const bool transposed : {false, true}) {
    problem = launch("product", 32, transposed);
    compare(transposed ? "product, B transposed" : "product", problem, 16 * 64, [&](int i) {
      double sum = 0;
      for (int k = 0; k < 64; k++) sum += at_a(i / 64, k) * (transposed ? at_b(i % 64, k) : at_b(k, i % 64));
      return sum;
    });
  }
  problem = launch("gram", 32);
  compare("gram", problem, 64 * 64, [](int i) {
    double sum = 0;
    for (int k = 0; k < 16; k++) sum += at_a(k, i / 64) * at_a(k, i % 64);
    return sum;
  });
  for (const char* broken : {"neighbours_without_barrier", "neighbours_across_warps", "overwritten_while_read", "never_written",
                             "beyond_shared_memory", "barrier_in_a_branch", "copy_not_waited_for", "copy_without_barrier",
                             "copy_not_aligned"}) {
    print(broken, launch(broken, 64));
  }
  print("more threads than declared", launch("product", 64));
  print("no such kernel", launch("nothing", 64));
  check_hopper();
  if (count > 1) check_maps(arguments[1]);
}
