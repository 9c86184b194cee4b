// Times matrix multiplications on request: one request a line on stdin, one JSON array of seconds a line on stdout.
//
//   worker <avx512|avx2|portable> <threads>            this project's kernel, on the addon's own thread pool
//   worker openblas <threads> <libopenblas.so.0>       cblas_sgemm; OPENBLAS_CORETYPE chooses its kernels
//
// Requests: "<NN|NT|TN> <m> <n> <k> <seconds>" or, for the first form, "peak <seconds>", answered by the multiply-add rate of
// every sample in FLOP/s, all threads together. With one thread, seconds are that thread's processor time; with more, wall time.
#include <dlfcn.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <random>
#include <sstream>

#include "../../../packages/backend-cpu/native/thread_pool.h"
#include "isa_entry.h"

namespace slayer {
#define SLAYER_ISA_ENTRY(isa) \
  namespace isa {             \
  extern const IsaEntry kEntry; \
  }
SLAYER_ISAS(SLAYER_ISA_ENTRY)
}  // namespace slayer

namespace {

using slayer::Call;
using slayer::IsaEntry;
using slayer::Operand;

using Clock = double (*)();

double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What this thread has computed for: on a shared machine, the time others took the core away is not counted.
double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Request {
  std::string layout;
  int64_t m, n, k;
  bool transpose_a() const { return layout[0] == 'T'; }
  bool transpose_b() const { return layout[1] == 'T'; }
};

using Multiply = std::function<void(const Request&, float* a, float* b, float* c)>;

const IsaEntry* find_isa(const std::string& name) {
#define SLAYER_FIND_ISA(isa) \
  if (name == #isa) return &slayer::isa::kEntry;
  SLAYER_ISAS(SLAYER_FIND_ISA)
  return nullptr;
}

Multiply ours(const IsaEntry& isa, slayer::Pool& pool) {
  return [&](const Request& r, float* a, float* b, float* c) {
    Call call;
    call.in = {Operand{a, slayer::DType::f32, r.transpose_a() ? std::vector{r.k, r.m} : std::vector{r.m, r.k}},
               Operand{b, slayer::DType::f32, r.transpose_b() ? std::vector{r.n, r.k} : std::vector{r.k, r.n}}};
    call.out = {Operand{c, slayer::DType::f32, {r.m, r.n}}};
    call.attrs = {{"transposeA", r.transpose_a()}, {"transposeB", r.transpose_b()}};
    isa.matmul(call, pool);
  };
}

template <class F>
F symbol(void* library, const char* name) {
  void* found = dlsym(library, name);
  if (!found) {
    std::fprintf(stderr, "no %s in that library: it is not OpenBLAS\n", name);
    std::exit(1);
  }
  return reinterpret_cast<F>(found);
}

Multiply openblas(const char* path, int threads) {
  void* library = dlopen(path, RTLD_NOW);
  if (!library) {
    std::fprintf(stderr, "%s\n", dlerror());
    std::exit(1);
  }
  symbol<void (*)(int)>(library, "openblas_set_num_threads")(threads);
  std::fprintf(stderr, "%s %s\n", symbol<const char* (*)()>(library, "openblas_get_config")(),
               symbol<const char* (*)()>(library, "openblas_get_corename")());
  using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
  const auto sgemm = symbol<Sgemm>(library, "cblas_sgemm");
  return [sgemm](const Request& r, float* a, float* b, float* c) {
    const int m = static_cast<int>(r.m), n = static_cast<int>(r.n), k = static_cast<int>(r.k);
    constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;
    sgemm(kRowMajor, r.transpose_a() ? kTranspose : kNoTranspose, r.transpose_b() ? kTranspose : kNoTranspose, m, n, k, 1, a,
          r.transpose_a() ? m : k, b, r.transpose_b() ? k : n, 0, c, n);
  };
}

std::vector<float> random_floats(int64_t n) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& value : values) value = uniform(generator);
  return values;
}

// Runs work() until `seconds` have passed, three times at least, after one that does not count.
std::vector<double> sample(Clock clock, double seconds, const std::function<void()>& work) {
  work();
  std::vector<double> times;
  const double start = wall_seconds();
  do {
    const double t = clock();
    work();
    times.push_back(clock() - t);
  } while (times.size() < 3 || wall_seconds() - start < seconds);
  return times;
}

void print(const std::vector<double>& values) {
  std::string line = "[";
  for (double value : values) {
    char text[32];
    std::snprintf(text, sizeof text, "%s%.4g", line.size() > 1 ? "," : "", value);
    line += text;
  }
  std::printf("%s]\n", line.c_str());
  std::fflush(stdout);
}

std::vector<double> peak(Clock clock, const IsaEntry& isa, slayer::Pool& pool, double seconds) {
  constexpr int64_t kRounds = 100000;
  std::vector<double> operations(static_cast<size_t>(pool.threads()));
  volatile float x = 0.999f;
  auto task = [&](int64_t t, int) {
    float sum = 0;
    operations[static_cast<size_t>(t)] = isa.fma_chains(kRounds, x, sum);
    [[maybe_unused]] volatile float kept = sum;
  };
  std::vector<double> rates = sample(clock, seconds, [&] { pool.run(pool.threads(), task); });
  for (double& rate : rates) rate = operations[0] * pool.threads() / rate;
  return rates;
}

}  // namespace

int main(int count, char** arguments) {
  if (count < 3) {
    std::fprintf(stderr, "usage: %s <isa>|openblas <threads> [libopenblas.so.0]\n", arguments[0]);
    return 1;
  }
  const int threads = std::atoi(arguments[2]);
  const Clock clock = threads == 1 ? thread_seconds : wall_seconds;
  const IsaEntry* isa = find_isa(arguments[1]);
  if (!isa && count < 4) {
    std::fprintf(stderr, "not an instruction set this was built for: %s\n", arguments[1]);
    return 1;
  }
  slayer::ThreadPool pool(isa ? threads : 1);
  const Multiply multiply = isa ? ours(*isa, pool) : openblas(arguments[3], threads);

  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    Request request{};
    double seconds = 0;
    words >> request.layout;
    if (isa && request.layout == "peak") {
      words >> seconds;
      print(peak(clock, *isa, pool, seconds));
      continue;
    }
    words >> request.m >> request.n >> request.k >> seconds;
    if (!words || request.layout.size() != 2) {
      std::fprintf(stderr, "not a request: %s\n", line.c_str());
      return 1;
    }
    std::vector<float> a = random_floats(request.m * request.k);
    std::vector<float> b = random_floats(request.k * request.n);
    std::vector<float> c(static_cast<size_t>(request.m * request.n));
    print(sample(clock, seconds, [&] { multiply(request, a.data(), b.data(), c.data()); }));
  }
}
