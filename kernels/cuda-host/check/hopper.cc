// The checks of hopper.cu; see main.cc.
#include <cmath>
#include <cstring>
#include <vector>

#include "../tensor_map.h"
#include "checks.h"
#include "kernels.h"

using namespace slayer;

namespace {

constexpr int kDepth = 200;  // not a multiple of a tile's 64 steps

// Row-major rows × columns.
struct Source {
  int rows, columns;
  std::vector<cuda::bf16> data;

  Source(int r, int c, int seed) : rows(r), columns(c), data(static_cast<size_t>(r * c)) {
    for (size_t i = 0; i < data.size(); i++) data[i] = cuda::from_float<cuda::bf16>(static_cast<float>((i * 7 + static_cast<size_t>(seed)) % 11) - 5);
  }
  double at(int r, int c) const { return cuda::to_float(data[static_cast<size_t>(r * columns + c)]); }
  cuda::TensorMap map() const {
    cuda::TensorMap map;
    host::encode({reinterpret_cast<const std::byte*>(data.data()), 2, {columns, rows, 1}, {2, columns * 2, 0}, {64, 64, 1}}, map.words);
    return map;
  }
};

std::string launch(const char* kernel, unsigned blocks, unsigned threads, const cuda::GroupCheckArgs& args, bool backwards = false) {
  try {
    host::executor().launch(kernel, {blocks}, {threads}, 40 << 10, &args, sizeof args, backwards);
  } catch (const host::LaunchError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

void check_hopper() {
  std::vector<float> out(2 * 64 * 64);
  const auto compare = [&](const std::string& name, const std::string& problem, auto expected) {
    double worst = 0;
    for (size_t i = 0; i < out.size(); i++) {
      const double off = std::fabs(double{out[i]} - expected(static_cast<int>(i)));
      if (!std::isnan(worst) && !(off <= worst)) worst = off;
    }
    print(name.c_str(), problem.empty() ? std::to_string(worst) : problem);
    std::fill(out.begin(), out.end(), 0.0f);
  };
  const char* const layouts[] = {"nn", "nt", "tn", "tt"};
  for (int layout = 0; layout < 4; layout++) {
    const bool ta = layout / 2 == 1, tb = layout % 2 == 1;
    const Source a(ta ? kDepth : 56, ta ? 56 : kDepth, 1), b(tb ? 48 : kDepth, tb ? kDepth : 48, 4);
    const std::string kernel = std::string("pipeline_") + layouts[layout];
    const std::string problem = launch(kernel.c_str(), 1, 160, {out.data(), kDepth, 0, a.map(), b.map()}, tb);
    compare(kernel, problem, [&](int i) {
      double sum = 0;
      if (i >= 64 * 64 || i / 64 >= 56 || i % 64 >= 48) return sum;
      for (int k = 0; k < kDepth; k++) sum += (ta ? a.at(k, i / 64) : a.at(i / 64, k)) * (tb ? b.at(i % 64, k) : b.at(k, i % 64));
      return sum;
    });
  }
  const Source a(64, 64, 2), two(128, 64, 3);
  compare("registers", launch("registers", 1, 128, {out.data(), 64, 0, a.map(), a.map()}), [&](int i) {
    double sum = 0;
    for (int k = 0; k < 64; k++) sum += a.at(i / 128, k) * ((k * 3 + i % 128) % 5 - 2);
    return sum;
  });
  for (const bool backwards : {false, true}) {
    compare(backwards ? "pair, backwards" : "pair", launch("pair", 2, 64, {out.data(), 64, 0, two.map(), two.map()}, backwards),
            [&](int i) { return two.at(i < 64 * 64 ? 64 + i / 64 : i / 64 - 64, i % 64); });
  }
  const Source left(64, kDepth, 1), right(64, kDepth, 4);
  const char* const rules[] = {"",
                               "tile not waited for",
                               "products not waited for",
                               "stage freed early",
                               "sums read early",
                               "fewer arrivals",
                               "wrong bytes",
                               "barrier made twice",
                               "barrier not made",
                               "box not aligned",
                               "a warp less",
                               "products not begun",
                               "barrier not ordered",
                               "bytes left",
                               "writes not fenced",
                               "registers reused",
                               "returns early",
                               "more arrivals",
                               "barrier not fenced",
                               "products begun too early"};
  for (int rule = 1; rule <= 19; rule++) {
    const bool in_registers = rule == 14 || rule == 15 || rule == 18;
    const char* const kernel = in_registers ? "registers" : rule == 16 ? "pair" : "pipeline_nt";
    const cuda::GroupCheckArgs args{out.data(), kDepth, rule, in_registers ? a.map() : rule == 16 ? two.map() : left.map(), right.map()};
    const std::string problem = launch(kernel, rule == 16 ? 2 : 1, in_registers ? 128 : rule == 16 ? 64 : 160, args);
    if (!problem.empty() || !(rule == 4 || rule == 15)) {
      print(rules[rule], problem);
      continue;
    }
    // Nothing but the values says so.
    compare(rules[rule], problem, [&](int i) {
      double sum = 0;
      if (rule == 4) return sum;
      for (int k = 0; k < 64; k++) sum += a.at(i / 128, k) * ((k * 3 + i % 128) % 5 - 2);
      return sum;
    });
  }
  print("barrier of the pair not ordered", launch("pair", 2, 64, {out.data(), 64, 12, two.map(), two.map()}));
  print("half a cluster", launch("pair", 3, 64, {out.data(), 64, 0, two.map(), two.map()}));
}
