// What the sources of CUDA kernels use, for a host compiler: the same names as in ../cuda/nvidia.h, on the executor's fibres.
// Fragments of ldmatrix and mma are laid out as in the PTX ISA, "Warp Level Matrix Instructions".
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "executor.h"

#define __device__
#define __forceinline__ inline
#define threadIdx (::slayer::host::executor().current().index)
#define blockIdx (::slayer::host::executor().block_index())
#define blockDim (::slayer::host::executor().block_size())
#define gridDim (::slayer::host::executor().grid_size())

// Defines a kernel: its name, the struct that it is given, and the most threads its blocks may have.
#define SLAYER_KERNEL(name, Args, threads)                                                               \
  static void name(const Args& args);                                                                    \
  static const ::slayer::host::Registration registration_of_##name(                                      \
      #name, [](const void* args) { name(*static_cast<const Args*>(args)); }, sizeof(Args), threads);    \
  static void name([[maybe_unused]] const Args& args)
// The same, with so few registers that as many blocks as given run at once on a multiprocessor.
#define SLAYER_SHARING_KERNEL(name, Args, threads, blocks) SLAYER_KERNEL(name, Args, threads)

namespace slayer::cuda {

struct bf16 {
  uint16_t bits;
};

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) {
  const uint32_t bits = uint32_t{x.bits} << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
template <class T>
inline T from_float(float x);
template <>
inline float from_float<float>(float x) {
  return x;
}
// To nearest, ties to even; NaN stays NaN.
template <>
inline bf16 from_float<bf16>(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  if ((bits & 0x7fffffff) > 0x7f800000) return {static_cast<uint16_t>(bits >> 16 | 0x40)};
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
inline uint32_t float_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

// CMakeLists.txt asks for ISO C++, in which compilers do not put operations together across calls.
inline float exact_mul(float x, float y) { return x * y; }
inline float exact_add(float x, float y) { return x + y; }
inline float exact_div(float x, float y) { return x / y; }
inline float exact_sqrt(float x) { return std::sqrt(x); }

// Two bf16 in one register, the first in the low half.
inline uint32_t pack_bf16(float low, float high) {
  return uint32_t{from_float<bf16>(low).bits} | uint32_t{from_float<bf16>(high).bits} << 16;
}

// A pointer to shared memory whose every access is checked. A device's is a plain pointer.
template <class T>
class Shared {
 public:
  class Reference {
   public:
    explicit Reference(uint32_t at) : at_(at) {}
    operator T() const {
      auto& e = host::executor();
      T value{};
      const std::byte* const from = e.shared().read(e.access(), at_, sizeof(T));
      if (from != nullptr) std::memcpy(static_cast<void*>(&value), from, sizeof(T));
      return value;
    }
    const Reference& operator=(T value) const {
      auto& e = host::executor();
      std::byte* const to = e.shared().write(e.access(), at_, sizeof(T));
      if (to != nullptr) std::memcpy(to, &value, sizeof(T));
      return *this;
    }

   private:
    uint32_t at_;
  };

  Shared() = default;
  explicit Shared(uint32_t at) : at_(at) {}
  Reference operator[](int64_t i) const { return Reference(at_ + static_cast<uint32_t>(i * int64_t{sizeof(T)})); }
  Shared operator+(int64_t i) const { return Shared(at_ + static_cast<uint32_t>(i * int64_t{sizeof(T)})); }
  uint32_t at() const { return at_; }

 private:
  uint32_t at_ = 0;
};

// The block's shared memory from byte `offset` on.
template <class T>
inline Shared<T> shared(int offset) {
  return Shared<T>(static_cast<uint32_t>(offset));
}

// N elements that lie together, moved at once. N·sizeof(T) is a power of two, and `p` a multiple of it or of 16.
template <class T, int N>
struct Pack {
  T v[N];
};
template <class T, int N>
inline void check_alignment(const void* p) {
  constexpr size_t bytes = sizeof(T) * N < 16 ? sizeof(T) * N : 16;
  if (reinterpret_cast<uintptr_t>(p) % bytes != 0) host::executor().report("a vector access that is not aligned");
}
template <class T, int N>
inline Pack<T, N> load_pack(const T* p) {
  check_alignment<T, N>(p);
  Pack<T, N> pack;
  std::memcpy(&pack, p, sizeof pack);
  return pack;
}
template <class T, int N>
inline void store_pack(T* p, const Pack<T, N>& pack) {
  check_alignment<T, N>(p);
  std::memcpy(static_cast<void*>(p), &pack, sizeof pack);
}
// For a device's compiler.
template <class T, int N>
inline void keep_packed(Pack<T, N>&) {}
// Four floats of shared memory, 16-byte aligned.
inline Pack<float, 4> load_four(Shared<float> p) {
  if (p.at() % 16 != 0) host::executor().report("a vector access to shared memory that is not aligned");
  auto& e = host::executor();
  Pack<float, 4> pack{};
  const std::byte* const from = e.shared().read(e.access(), p.at(), 16);
  if (from != nullptr) std::memcpy(&pack, from, 16);
  return pack;
}
inline void store_four(Shared<float> p, const Pack<float, 4>& pack) {
  if (p.at() % 16 != 0) host::executor().report("a vector access to shared memory that is not aligned");
  auto& e = host::executor();
  std::byte* const to = e.shared().write(e.access(), p.at(), 16);
  if (to != nullptr) std::memcpy(to, &pack, 16);
}

inline void __syncthreads() { host::executor().block_barrier(); }
inline void __syncwarp() { host::executor().warp_barrier(0xffffffffu); }

// The value of lane `source` of the warp; all 32 lanes take part.
template <class T>
inline T shuffle(T value, unsigned source) {
  auto& e = host::executor();
  e.deposit(&value, sizeof(T));
  const unsigned set = e.warp_barrier(0xffffffffu);
  T result;
  std::memcpy(static_cast<void*>(&result), e.current().warp->slots[set][source % host::kWarp].bytes, sizeof(T));
  return result;
}
template <class T>
inline T shuffle_xor(T value, unsigned mask) {
  return shuffle(value, host::executor().current().lane() ^ mask);
}
// Bit i: whether lane i says so.
inline uint32_t ballot(bool predicate) {
  auto& e = host::executor();
  e.deposit(&predicate, sizeof predicate);
  const unsigned set = e.warp_barrier(0xffffffffu);
  uint32_t bits = 0;
  for (unsigned lane = 0; lane < host::kWarp; lane++) {
    if (static_cast<bool>(e.current().warp->slots[set][lane].bytes[0])) bits |= 1u << lane;
  }
  return bits;
}

inline int count_bits(uint32_t x) { return std::popcount(x); }

// 16 bytes from global to shared memory, past the registers; zeros unless `valid`. Complete only after a wait and a barrier.
template <class T>
inline void copy_async(Shared<T> to, const T* from, bool valid) {
  host::executor().start_copy(to.at(), 16, valid ? from : nullptr);
}
inline void commit_copies() { host::executor().commit_copies(); }
template <int Keep>
inline void wait_copies() {
  host::executor().wait_copies(Keep);
}

namespace detail {

// ldmatrix .x4: lane 8i + r gives the address of row r of matrix i; lane l gets of matrix i the elements (l/4, 2(l%4)) and the
// next one, or with .trans (2(l%4), l/4) and the one below.
inline void load_matrices(uint32_t (&r)[4], Shared<bf16> row, bool transpose) {
  auto& e = host::executor();
  const uint32_t at = row.at();
  if (at % 16 != 0) e.report("ldmatrix of a row that is not aligned to 16 bytes");
  e.deposit(&at, sizeof at);
  const unsigned set = e.warp_barrier(0xffffffffu);
  const unsigned lane = e.current().lane();
  const auto& slots = e.current().warp->slots[set];
  for (unsigned i = 0; i < 4; i++) {
    uint32_t bits[2];
    for (unsigned j = 0; j < 2; j++) {
      const unsigned line = transpose ? 2 * (lane % 4) + j : lane / 4;
      const unsigned column = transpose ? lane / 4 : 2 * (lane % 4) + j;
      uint32_t start;
      std::memcpy(&start, slots[8 * i + line].bytes, sizeof start);
      bits[j] = static_cast<bf16>(Shared<bf16>(start)[column]).bits;
    }
    r[i] = bits[0] | bits[1] << 16;
  }
}

inline float element(const host::Slot& slot, unsigned index, unsigned half) {
  bf16 value;
  std::memcpy(&value, slot.bytes + 4 * index + 2 * half, 2);
  return to_float(value);
}

// D = A·B of mma.m16n8k16. A (16×16): register i of lane l holds row l/4 + 8(i%2), columns 2(l%4) + 8(i/2) and the next. B (16×8):
// register 4 + i holds column l/4, rows 2(l%4) + 8i and the next.
inline void multiply_slots(host::Warp& warp, unsigned set) {
  float a[16][16], b[16][8];
  for (unsigned lane = 0; lane < host::kWarp; lane++) {
    const host::Slot& slot = warp.slots[set][lane];
    for (unsigned half = 0; half < 2; half++) {
      for (unsigned i = 0; i < 4; i++) a[lane / 4 + 8 * (i % 2)][2 * (lane % 4) + 8 * (i / 2) + half] = element(slot, i, half);
      for (unsigned i = 0; i < 2; i++) b[2 * (lane % 4) + 8 * i + half][lane / 4] = element(slot, 4 + i, half);
    }
  }
  float* const d = warp.products[set].data();
  for (int row = 0; row < 16; row++) {
    float sums[8] = {};
    for (int k = 0; k < 16; k++) {
      for (int column = 0; column < 8; column++) sums[column] += a[row][k] * b[k][column];
    }
    std::memcpy(d + row * 8, sums, sizeof sums);
  }
}

}  // namespace detail

inline void load_matrices(uint32_t (&r)[4], Shared<bf16> row) { detail::load_matrices(r, row, false); }
inline void load_matrices_transposed(uint32_t (&r)[4], Shared<bf16> row) { detail::load_matrices(r, row, true); }

// c += A·B, mma.sync m16n8k16 on bf16 with f32 sums. Of c, lane l holds rows l/4 (c[0], c[1]) and l/4 + 8 (c[2], c[3]), columns
// 2(l%4) and the next.
inline void multiply_accumulate(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  static const auto& complete = *new std::function<void(host::Warp&, unsigned)>(detail::multiply_slots);
  auto& e = host::executor();
  const uint32_t fragment[6] = {a[0], a[1], a[2], a[3], b0, b1};
  e.deposit(fragment, sizeof fragment);
  const unsigned set = e.warp_barrier(0xffffffffu, &complete);
  const unsigned lane = e.current().lane();
  const float* const d = e.current().warp->products[set].data();
  for (unsigned i = 0; i < 4; i++) c[i] += d[(lane / 4 + 8 * (i / 2)) * 8 + 2 * (lane % 4) + i % 2];
}

// Whether this is the first thread of the launch to set `word` from 0.
inline bool set_first(int* word, int value) {
  if (*word != 0) return false;
  *word = value;
  return true;
}

inline int take_number(int* word) { return (*word)++; }

inline void sincosf(float x, float* sine, float* cosine) {
  *sine = std::sin(x);
  *cosine = std::cos(x);
}

using std::max;
using std::min;

inline float reciprocal(float x) { return 1 / x; }
inline float power_of_two(float x) { return std::exp2(x); }

}  // namespace slayer::cuda
