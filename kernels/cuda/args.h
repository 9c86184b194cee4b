// What each CUDA kernel is given: one struct, by value. The lowering (packages/backend-cuda/native/lower) fills it in, and the
// kernels read it. Tensors are contiguous and row-major; void* where the type is part of the kernel's name.
#pragma once

#include <cstdint>

namespace slayer::cuda {

// Where a tensor lies and how it is cut into boxes, for the copy engine of Hopper: what cuTensorMapEncodeTiled makes.
struct alignas(64) TensorMap {
  uint64_t words[16];
};

// Where a kernel says that a value was out of range: in device memory, zeroed before each run.
struct Fault {
  int32_t step;  // number of the plan's step, plus 1
  int32_t value;
  int64_t position;
};

// y [n] from operands [n]; b of add_bias is [columns]. wide: all pointers are aligned to 16 bytes, n and columns multiples of 8.
struct Pointwise {
  const void* a;
  const void* b;
  const void* c;
  void* y;
  void* z;
  int64_t n;
  int64_t columns;
  float value;
  int32_t wide;
};

// sums [threads of the grid]: of chains x = factor·x + 1 − factor, `rounds` long.
struct Chains {
  float* sums;
  float factor;
  int32_t rounds;
};

// Rows [rows, columns], of each a norm. r [rows] f32.
struct RowNorm {
  const void* dy;
  const void* x;
  const void* w;
  void* y;
  float* r;
  int64_t columns;
  float eps;
  int32_t wide;
  const void* addend;  // [rows, columns], of rmsnorm_backward_input_add
};

// partial[chunk, j] = Σ over the chunk's rows of x[i, j], or with dy and r of dy[i, j]·x[i, j]·r[i]; f32.
struct ColumnSums {
  const void* x;
  const void* dy;
  const float* r;
  float* partial;
  int64_t rows;
  int64_t columns;
  int64_t rows_per_chunk;
  int32_t wide;
};

// y[j] = Σ over chunks of partial[chunk, j].
struct ColumnTotals {
  const float* partial;
  void* y;
  int64_t columns;
  int32_t chunks;
};

// partial[block] = Σ over the block's share of x[i], or x[i]²; then y = Σ partial.
struct Reduction {
  const void* x;
  double* partial;
  void* y;
  int64_t n;
  int32_t blocks;
  int32_t squares;
  int32_t wide;
};

// x, y [tokens, width]; positions i32 [tokens]; frequencies f32 [half], half of a head's size.
struct Rope {
  const void* x;
  const int32_t* positions;
  const float* frequencies;
  void* y;
  int64_t tokens;
  int32_t width;
  int32_t half;
  int32_t tokens_per_block;
  float sign;  // −1: the inverse rotation
  int32_t wide;
};

// y [positions, columns], table [rows, columns].
struct Embedding {
  const void* table;
  const int32_t* ids;
  void* y;
  int64_t positions;
  int64_t columns;
  int32_t rows;
  int32_t step;
  Fault* fault;
  int32_t wide;
};

// Rows of a table whose gradients are looked for together.
constexpr int32_t kBucketRows = 64;

// A position, and the row of the table that its id asks for.
struct RowOfPosition {
  int32_t row;
  int32_t position;
};

// dtable [rows, columns] from dy [positions, columns]. The positions are sorted into buckets of kBucketRows rows: those of bucket b
// are sorted[starts[b]] … before sorted[starts[b + 1]].
struct EmbeddingBackward {
  const void* dy;
  const int32_t* ids;
  float* dtable;
  RowOfPosition* sorted;  // [positions]
  int32_t* starts;        // [buckets + 1]
  int64_t columns;
  int32_t positions;
  int32_t rows;
  int32_t wide;  // 4 columns at a time
};

// y [rows, columns], codes [rows, words], scales [rows, groups]; n words in all.
struct Dequantize {
  const int32_t* codes;
  const float* scales;
  void* y;
  int64_t n;
  int64_t columns;
  int64_t words;
  int64_t groups;
};

struct Adamw {
  void* p;
  void* working;  // [n] bf16, p rounded; or null
  const void* g;
  float* m;
  float* v;
  const float* factor;
  const float* step;  // lr, 1 − β1^t, 1 − β2^t; with stochastic rounding also t
  int64_t n;
  float beta1, beta2, rest1, rest2, eps, decay;  // rest = 1 − β
  uint32_t seed;  // of stochastic rounding
  int32_t wide;
};

struct Clip {
  const float* squares;
  const float* scale;
  float* norm;
  float* factor;
  float most;
};

// Rows x [batch, T, columns] into cache [batch, S, columns] at row `offset`.
struct CacheWrite {
  void* cache;
  const void* x;
  const int32_t* offset;
  int64_t T;
  int64_t S;
  int64_t columns;
  int64_t n;
  int32_t step;
  Fault* fault;
};

// C [m, n] = op(A)·op(B), or with an addend D [m, n] of C's type C = D + op(A)·op(B); D may be C. Element (i, k) of op(A) is
// a[i·a_row + k·a_step], (k, j) of op(B) is b[j·b_row + k·b_step]; one of the two strides of each is 1. wide: C and D
// lie at multiples of 16 bytes, and n is a multiple of 4.
struct Gemm {
  const void* a;
  const void* b;
  void* c;
  int64_t a_row, a_step;
  int64_t b_row, b_step;
  const void* addend;  // or null
  int32_t m, n, k;
  int32_t wide;
};

// y [m, n] = silu(g)∘u with g = x·gateᵀ, u = x·upᵀ; x [m, k], gate and up [n, k]; all bf16. g and u are stored too where there is room.
struct SwigluProducts {
  const void* x;
  const void* gate;
  const void* up;
  void* y;
  void* g;  // or null, as u
  void* u;
  int32_t m, n, k;
};

// For Hopper: with maps of A and B, and of SwiGLU's gate and up, in boxes of 64 × 64.
struct GroupGemm {
  Gemm gemm;
  TensorMap a, b;
};
struct GroupSwiglu {
  SwigluProducts products;
  TensorMap x, gate, up;
};

// q, o, dout, dq [B, T, H·E]; k, v, dk, dv [B, S, K·E]; lse, delta f32 [B, H, T]; segments i32 [B, S]; offset i32 [1].
struct Attention {
  const void* q;
  const void* k;
  const void* v;
  const void* dout;
  void* o;
  float* lse;
  float* delta;
  void* dq;
  void* dk;
  void* dv;
  const int32_t* segments;  // or null
  const int32_t* offset;    // or null
  int32_t B, T, S, H, K, E;
  int32_t window;  // 0: no bound
  float scale;
  int32_t wide;  // of attention_delta
  int32_t step;
  Fault* fault;
};

// Rows of one head in which a thread of attention_delta takes part.
constexpr int32_t kDeltaRows = 4;

// For Hopper: with maps of q, k, v and dout as [B, rows, columns], in boxes of 1 × 64 × 64. There are as many `pieces` of 128 rows, `tiles` of
// each (kv) head; `at_once` heads are worked on side by side, so that what they read again stays in the cache. `dealt` is 0 when the
// launch begins.
struct GroupAttention {
  Attention attention;
  TensorMap q, k, v, dout;
  int32_t* dealt;
  int32_t at_once, tiles, pieces;
  int32_t blocks;  // of the grid
};

// A panel of rows of the LM head: logits f32 [rows, V].
struct Logits {
  const float* logits;
  const int32_t* targets;  // of the panel
  float* lse;              // of the panel
  float* nll;              // of the panel
  const float* dnll;       // of the panel
  void* g;                 // [rows, V]
  int32_t V;
  int32_t first;  // row of the batch where the panel begins, for messages
  int32_t wide;
  int32_t step;
  Fault* fault;
};

}  // namespace slayer::cuda
