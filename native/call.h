// One op of a plan with its memory bound: what the kernels of backend-cpu and the lowering of backend-cuda are given.
//
// Methods are always inlined: kernels of several instruction sets compile them, and the linker would keep one copy for all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#define SLAYER_INLINE __attribute__((always_inline)) inline

namespace slayer {

enum class DType : uint8_t { f32, bf16, i32 };

SLAYER_INLINE size_t bytes_of(DType dtype) { return dtype == DType::bf16 ? 2 : 4; }
SLAYER_INLINE const char* name_of(DType dtype) { return dtype == DType::f32 ? "f32" : dtype == DType::bf16 ? "bf16" : "i32"; }

// A number stored in bf16: the upper half of an f32.
struct Bf16 {
  uint16_t bits;
};

// A contiguous row-major tensor in the memory of the host, or at an address of a device.
struct Operand {
  void* data = nullptr;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;

  template <class T>
  SLAYER_INLINE T* as() const {
    return static_cast<T*>(data);
  }
  SLAYER_INLINE float* f32() const { return as<float>(); }
  SLAYER_INLINE Bf16* bf16() const { return as<Bf16>(); }
  SLAYER_INLINE int32_t* i32() const { return as<int32_t>(); }
  // f(float*) or f(Bf16*): for operands that may be stored either way.
  template <class F>
  SLAYER_INLINE void with_floats(F f) const {
    if (dtype == DType::bf16) f(bf16());
    else f(f32());
  }
  SLAYER_INLINE bool aligned(uintptr_t bytes) const { return reinterpret_cast<uintptr_t>(data) % bytes == 0; }
  // Number of elements.
  SLAYER_INLINE int64_t size() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  // The last extent; a tensor [..., D] seen as the matrix [rows, columns].
  SLAYER_INLINE int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  SLAYER_INLINE int64_t rows() const { return size() / columns(); }
};

// Attribute names are those of packages/tensor/src/ops; booleans are 0 or 1.
struct Call {
  std::string op;
  std::vector<Operand> in;
  std::vector<Operand> out;
  std::vector<std::pair<std::string, double>> attrs;

  SLAYER_INLINE double attr(const char* name, double otherwise = 0) const {
    for (const auto& [key, value] : attrs) if (key == name) return value;
    return otherwise;
  }
};

}  // namespace slayer
