// One op of a plan with its memory bound: what the lowering reads.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace slayer::cuda {

enum class DType : uint8_t { f32, bf16, i32 };

inline size_t bytes_of(DType dtype) { return dtype == DType::bf16 ? 2 : 4; }
inline const char* name_of(DType dtype) { return dtype == DType::f32 ? "f32" : dtype == DType::bf16 ? "bf16" : "i32"; }

// A contiguous row-major tensor at a device address.
struct Operand {
  uint64_t address = 0;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;

  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(address);
  }
  void* data() const { return as<void>(); }
  int64_t size() const {
    int64_t n = 1;
    for (int64_t d : shape) n *= d;
    return n;
  }
  // The last extent; a tensor [..., D] seen as the matrix [rows, columns].
  int64_t columns() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const { return size() / columns(); }
  bool aligned(uint64_t bytes) const { return address % bytes == 0; }
};

// Attribute names are those of packages/tensor/src/ops; booleans are 0 or 1.
struct Call {
  std::string op;
  std::vector<Operand> in;
  std::vector<Operand> out;
  std::vector<std::pair<std::string, double>> attrs;

  double attr(const char* name, double otherwise = 0) const {
    for (const auto& [key, value] : attrs) {
      if (key == name) return value;
    }
    return otherwise;
  }
};

// There is no kernel for a call; the message says why.
class Unsupported : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace slayer::cuda
