// Measures what this machine can do at most, for benchmarks; see kernels/cpu/peaks.h for the loops.
#pragma once

#include <cstdint>
#include <vector>

namespace slayer {

class ThreadPool;

// One instruction set's loops.
struct PeakLoops {
  double (*fma_chains)(int64_t rounds, float x, float& sum);
  void (*copy)(const float* from, float* to, int64_t n);
};

// Rates of all threads together, one per sample: operations per second of multiply-adds in registers; bytes per second, read and
// written ones both counted, of copying `bytes` of memory, each thread its own part. At least five samples, and for `seconds`.
std::vector<double> fma_rates(const PeakLoops& loops, ThreadPool& pool, double seconds);
std::vector<double> copy_rates(const PeakLoops& loops, ThreadPool& pool, int64_t bytes, double seconds);

}  // namespace slayer
