// What a product on the ordinary cores is made of: how tiles of the operands get into shared memory, what each thread multiplies, and how
// results leave the registers.
#pragma once

#include "tile_place.h"

namespace slayer::cuda {

constexpr int kSimtSteps = 8;  // of k in a stage

// A block makes a tile of kRows × kColumns. Its warps lie in WarpRows × WarpColumns; a warp's 32 lanes lie in 4 × 8, and each lane has
// QuadsA × QuadsB quads of 4 × 4 of C.
template <int QuadsA, int QuadsB, int WarpRows, int WarpColumns>
struct SimtShape {
  static constexpr int kQuadsA = QuadsA, kQuadsB = QuadsB, kWarpColumns = WarpColumns;
  static constexpr int kWarpHeight = 16 * QuadsA, kWarpWidth = 32 * QuadsB;
  static constexpr int kRows = kWarpHeight * WarpRows, kColumns = kWarpWidth * WarpColumns;
  static constexpr int kThreads = 32 * WarpRows * WarpColumns;
};

// A stage's part of one operand lies in shared memory with a row per step of k. The pitch keeps rows aligned to 16 bytes, and four rows
// are 16 banks apart.
template <int Rows>
constexpr int kSimtPitch = Rows + 4;
template <class Shape>
constexpr int kSimtTileA = kSimtSteps * kSimtPitch<Shape::kRows>;
template <class Shape>
constexpr int kSimtStage = kSimtTileA<Shape> + kSimtSteps * kSimtPitch<Shape::kColumns>;

// How an operand lies in global memory: its steps of k next to one another, or its rows (of op(B)ᵀ), in packs of four that can be loaded at
// once; or either, found out while the kernel runs, and loaded one by one.
enum class SimtLayout { kAlongK, kAlongRows, kAny };

// One operand's way into shared memory, of which each thread brings four elements per stage. Of rows beyond the last, the last is taken
// instead: what comes of them is not stored. The first stage may have fewer than kSimtSteps steps, and zeros for the others; all further
// ones are whole. So those have nothing to check.
template <class T, int Rows, int Threads, SimtLayout Layout>
struct SimtOperand {
  static_assert(Rows * kSimtSteps == 4 * Threads, "four elements for each thread");
  static constexpr int kPitch = kSimtPitch<Rows>;
  static constexpr bool kPacked = Layout != SimtLayout::kAny;
  const T* from;
  int64_t stage;  // elements from one whole stage to the next
  int k;          // step of the first element
  int put_at;     // its place
  bool along_k;
  int apart, most;  // elements from one to the next, and from the first to the last, at most
  float values[4];

  __device__ __forceinline__ SimtOperand(const void* data, int64_t row, int64_t step, int first, int rows) {
    constexpr int kPacks = kSimtSteps / 4;
    const int thread = static_cast<int>(threadIdx.x);
    along_k = kPacked ? Layout == SimtLayout::kAlongK : step == 1;
    if (along_k) step = 1;
    apart = along_k || kPacked ? 1 : Rows / 4;  // so that neighbours take neighbouring rows
    const int i = along_k ? thread / kPacks : thread % (Rows / 4) * (kPacked ? 4 : 1);
    k = along_k ? thread % kPacks * 4 : thread / (Rows / 4);
    const int taken = min(first + i, rows - (Layout == SimtLayout::kAlongRows ? 4 : 1));
    most = along_k || kPacked ? 3 : rows - 1 - taken;
    put_at = k * kPitch + i;
    from = static_cast<const T*>(data) + taken * row + k * step;
    stage = kSimtSteps * step;
  }
  // Only the first `steps` steps, and on to the stage that begins there.
  __device__ __forceinline__ void fetch_first(int steps) {
#pragma unroll
    for (int e = 0; e < 4; e++) values[e] = k + (along_k ? e : 0) < steps ? to_float(from[min(e * apart, most)]) : 0.0f;
    from += stage / kSimtSteps * steps;
  }
  __device__ __forceinline__ void fetch() {
    if constexpr (kPacked) {
      load<4>(values, from);
    } else {
#pragma unroll
      for (int e = 0; e < 4; e++) values[e] = to_float(from[min(e * apart, most)]);
    }
    from += stage;
  }
  // A warp writes to 32 different banks at a time.
  __device__ __forceinline__ void put(Shared<float> tile) const {
    if constexpr (Layout == SimtLayout::kAlongRows) {
      store_four(tile + put_at, {{values[0], values[1], values[2], values[3]}});
    } else {
      const int step = along_k ? kPitch : apart;
#pragma unroll
      for (int e = 0; e < 4; e++) tile[put_at + e * step] = values[e];
    }
  }
};

// What a thread multiplies, and its place.
template <class Shape>
struct SimtThread {
  static constexpr int kA = 4 * Shape::kQuadsA, kB = 4 * Shape::kQuadsB;
  // Neighbouring lanes read the same of B, next but one the same of A: so 16 bytes to a lane take half as many passes.
  int row = place(warp_index() / Shape::kWarpColumns * Shape::kWarpHeight, lane_index() % 2 + lane_index() / 16 * 2);
  int column = place(warp_index() % Shape::kWarpColumns * Shape::kWarpWidth, lane_index() / 2 % 8);
  float sums[kA][kB] = {};
  float a[2][kA], b[2][kB];  // of two steps by turns: one is multiplied while the other is read

  __device__ __forceinline__ static int place(unsigned warp, unsigned quad) { return static_cast<int>(warp + 4 * quad); }
  __device__ __forceinline__ void read(int to, Shared<float> tiles, int k) {
#pragma unroll
    for (int quad = 0; quad < Shape::kQuadsA; quad++) {
      const Pack<float, 4> pack = load_four(tiles + (k * kSimtPitch<Shape::kRows> + row + 16 * quad));
#pragma unroll
      for (int e = 0; e < 4; e++) a[to][4 * quad + e] = pack.v[e];
    }
    const Shared<float> tile_b = tiles + kSimtTileA<Shape>;
#pragma unroll
    for (int quad = 0; quad < Shape::kQuadsB; quad++) {
      const Pack<float, 4> pack = load_four(tile_b + (k * kSimtPitch<Shape::kColumns> + column + 32 * quad));
#pragma unroll
      for (int e = 0; e < 4; e++) b[to][4 * quad + e] = pack.v[e];
    }
  }
  __device__ __forceinline__ void multiply(int of) {
#pragma unroll
    for (int i = 0; i < kA; i++) {
#pragma unroll
      for (int j = 0; j < kB; j++) sums[i][j] += a[of][i] * b[of][j];
    }
  }
};

// A thread's results to C, Whole: all of its tile, 16 bytes of f32 at a time. Before the first of four rows is stored, all their addends
// are asked for, so that one need not wait for another.
template <class C, bool Whole, class Shape>
__device__ __forceinline__ void store_sums(const Gemm& args, SimtThread<Shape>& thread, TilePlace place) {
#pragma unroll
  for (int first = 0; first < thread.kA; first += 4) {
    // body(where in C, columns from there on, sums) for each row of the quads.
    const auto for_rows = [&](auto body) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int row = place.row + thread.row + first * 4 + i;
#pragma unroll
        for (int quad = 0; quad < Shape::kQuadsB; quad++) {
          const int column = place.column + thread.column + 32 * quad;
          if (Whole || row < args.m) body(static_cast<int64_t>(row) * args.n + column, args.n - column, thread.sums[first + i] + 4 * quad);
        }
      }
    };
    if (args.addend != nullptr) {
      for_rows([&](int64_t at, int columns, float* sums) {
        const C* const addend = static_cast<const C*>(args.addend) + at;
        float old[4] = {};
        if constexpr (Whole) {
          load<4>(old, addend);
        } else {
#pragma unroll
          for (int e = 0; e < 4; e++) old[e] = e < columns ? to_float(addend[e]) : 0.0f;
        }
#pragma unroll
        for (int e = 0; e < 4; e++) sums[e] = old[e] + sums[e];
      });
    }
    for_rows([&](int64_t at, int columns, float* sums) {
      C* const c = static_cast<C*>(args.c) + at;
      if constexpr (Whole) {
        Pack<C, 4> pack;
#pragma unroll
        for (int e = 0; e < 4; e++) pack.v[e] = from_float<C>(sums[e]);
        store_pack<C, 4>(c, pack);
      } else {
#pragma unroll
        for (int e = 0; e < 4; e++) {
          if (e < columns) c[e] = from_float<C>(sums[e]);
        }
      }
    });
  }
}

}  // namespace slayer::cuda
