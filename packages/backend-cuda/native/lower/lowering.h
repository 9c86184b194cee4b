// From ops to kernel launches. One function per op, in lower/<family>.cc; the table is in lower/table.cc.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <map>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "../../../../kernels/cuda/args.h"
#include "../../../../native/call.h"
#include "../launch.h"
#include "../tensor_map.h"

namespace slayer::cuda {

// There is no kernel for a call; the message says why.
class Unsupported : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr uint32_t kThreads = 256;

// A product that can be computed in several ways.
struct Product {
  std::string name;  // of its class: products alike enough that what is best for one is for all
  int64_t m, n, k;
  bool transpose_a, transpose_b, f32;
  std::vector<std::string> variants;  // the first is taken where nobody has measured
};

// What was measured to be best, by the product's name.
using Choices = std::map<std::string, std::string>;

// Collects the launches of a plan's steps. Workspace is memory that lives for one step; all steps share one piece.
class Lowering {
 public:
  // A pass with workspace_base 0 finds out how much workspace is needed; the launches of such a pass must not be run.
  Lowering(const Limits& limits, const Choices& choices, uint64_t workspace_base, Fault* fault)
      : limits_(limits), choices_(choices), workspace_base_(workspace_base), fault_(fault) {}

  // Appends the launches of one step. Throws Unsupported.
  void lower(const Call& call);

  const std::vector<Launch>& launches() const { return launches_; }
  // Those of its steps so far for which there was a choice.
  const std::vector<Product>& products() const { return products_; }
  size_t workspace_bytes() const { return workspace_bytes_; }
  // Of the fault, and of the counters that follow it.
  size_t cleared_bytes() const { return sizeof(Fault) + counters_ * sizeof(int32_t); }

  // For the functions of the table.
  template <class Args>
  void launch(std::string kernel, Extent grid, Extent block, const Args& args, size_t shared_bytes = 0) {
    Launch& launch = launches_.emplace_back();
    launch.kernel = std::move(kernel);
    launch.grid = grid;
    launch.block = block;
    launch.shared_bytes = shared_bytes;
    launch.step = step_;
    launch.set(args);
  }
  // 256-byte aligned, its contents undefined.
  template <class T>
  T* workspace(int64_t elements) {
    const uint64_t at = workspace_base_ + workspace_used_;
    workspace_used_ += (static_cast<size_t>(elements) * sizeof(T) + 255) / 256 * 256;
    workspace_bytes_ = std::max(workspace_bytes_, workspace_used_);
    return reinterpret_cast<T*>(at);
  }
  // map_of(data, extents, strides); nothing in a pass whose launches are not run.
  TensorMap map(const void* data, std::initializer_list<int64_t> extents, std::initializer_list<int64_t> strides) const {
    return fault_ == nullptr ? TensorMap{} : map_of(data, extents, strides);
  }
  // For one launch; 0 when a run begins.
  int32_t* counter() {
    const size_t index = counters_++;
    return fault_ == nullptr ? nullptr : reinterpret_cast<int32_t*>(fault_ + 1) + index;
  }
  std::string choose(Product product);
  const Limits& limits() const { return limits_; }
  Fault* fault() const { return fault_; }
  int32_t step() const { return static_cast<int32_t>(step_); }

 private:
  Limits limits_;
  const Choices& choices_;
  std::vector<Product> products_;
  uint64_t workspace_base_;
  Fault* fault_;
  std::vector<Launch> launches_;
  size_t workspace_used_ = 0;
  size_t workspace_bytes_ = 0;
  size_t counters_ = 0;
  uint32_t step_ = 0;
};

using LowerFunction = void (*)(const Call&, Lowering&);

struct LowerEntry {
  const char* op;
  LowerFunction lower;
};

// Every op that there are kernels for; ended by an entry without a name.
extern const LowerEntry kLowerings[];

// "name_f32_bf16": the kernel of that family for operands of these types.
inline std::string kernel_for(const char* family, std::initializer_list<DType> types) {
  std::string name = family;
  for (DType type : types) name += std::string("_") + name_of(type);
  return name;
}

inline void require(bool condition, const std::string& why) {
  if (!condition) throw Unsupported(why);
}
inline bool is_float(const Operand& operand) { return operand.dtype != DType::i32; }

// Blocks of kThreads for n elements, `each` to a thread: fewer that go around are slower. Beyond what a grid may have they do.
inline Extent blocks_for(int64_t n, int64_t each = 1) {
  const int64_t blocks = (n + each * kThreads - 1) / (each * kThreads);
  return {static_cast<uint32_t>(std::clamp<int64_t>(blocks, 1, (int64_t{1} << 31) - 1))};
}
// Elements of 16 bytes, which a thread moves at once where it can.
inline int64_t pack_of(const Operand& operand) { return 16 / static_cast<int64_t>(bytes_of(operand.dtype)); }

inline int64_t tiles(int64_t n, int64_t tile) { return (n + tile - 1) / tile; }

// A matrix as the products take it: [rows, columns] in memory, read as its transpose if so said.
struct Matrix {
  const void* data;
  DType dtype;
  int64_t rows;
  int64_t columns;
  bool transposed;
};

// C [m, n] = op(A)·op(B), and an addend of the same shape and type if there is one; that may be C.
void multiply(Lowering& lowering, const Matrix& a, const Matrix& b, void* c, DType c_type, const void* addend = nullptr);

}  // namespace slayer::cuda
