#include "peaks.h"

#include <chrono>
#include <functional>

#include "thread_pool.h"

namespace slayer {

namespace {

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// `amount` of what work() does, per second.
std::vector<double> rates(double seconds, const std::function<double()>& work) {
  work();  // threads awake, pages there
  std::vector<double> result;
  const double start = now();
  do {
    const double from = now();
    const double amount = work();
    result.push_back(amount / (now() - from));
  } while (result.size() < 5 || now() - start < seconds);
  return result;
}

}  // namespace

std::vector<double> fma_rates(const PeakLoops& loops, ThreadPool& pool, double seconds) {
  constexpr int64_t kRounds = 200000;  // about a millisecond
  std::vector<double> operations(static_cast<size_t>(pool.threads()));
  std::vector<float> sums(operations.size());
  auto task = [&](int64_t t, int) {
    const auto i = static_cast<size_t>(t);
    operations[i] = loops.fma_chains(kRounds, 0.999f, sums[i]);
  };
  return rates(seconds, [&] {
    pool.run(pool.threads(), task);
    return operations[0] * pool.threads();
  });
}

std::vector<double> copy_rates(const PeakLoops& loops, ThreadPool& pool, int64_t bytes, double seconds) {
  constexpr int64_t kPiece = 16384;  // floats; tasks large enough that handing them out costs nothing
  const int64_t pieces = bytes / 4 / kPiece;
  const Memory from(static_cast<size_t>(pieces * kPiece) * 4);
  const Memory to(from.bytes());
  auto task = [&](int64_t i, int) {
    loops.copy(reinterpret_cast<const float*>(from.data()) + i * kPiece, reinterpret_cast<float*>(to.data()) + i * kPiece, kPiece);
  };
  // Memory that was never written is one shared page of zeros: not what is to be measured.
  for (size_t i = 0; i < from.bytes(); i += 64) from.data()[i] = std::byte{1};
  return rates(seconds, [&] {
    pool.run(pieces, task);
    return 2.0 * static_cast<double>(from.bytes());
  });
}

}  // namespace slayer
