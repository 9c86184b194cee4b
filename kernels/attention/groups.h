// What the attention kernels for Hopper have in common. There is a block for each multiprocessor, of 3 warpgroups, which works on 128 rows of
// one head after the other: a thread of the first group has the copy engine bring tiles (warp 1 brings what is not bf16), the two others
// take 64 of the rows each. Stages of shared memory go between them, and tiles of the next rows come while these are finished. Warp 3 says
// which rows are next.
#pragma once

#include "seen.h"

namespace slayer::cuda {

constexpr int kGroupRows = 64;   // of a warpgroup
constexpr int kBlockRows = 128;  // of a block
constexpr unsigned kConsumerWarps = 8;
// Of a thread, at most 384·168 in all.
constexpr int kProducerRegisters = 40;
constexpr int kConsumerRegisters = 232;

// Which of the consumers' warpgroups this thread is of. From one lane, so that the compiler knows that all have the same.
__device__ __forceinline__ int consumer_group() { return static_cast<int>(shuffle(warp_index(), 0)) / 4 - 1; }

// Rows of one head in shared memory: a panel for each 64 of its E elements, of Rows rows.
template <int E, int Rows>
struct HeadPanels {
  static constexpr int kPanelBytes = Rows * 128;
  static constexpr int kBytes = E / 64 * kPanelBytes;
  Shared<bf16> start;

  __device__ __forceinline__ Shared<bf16> at(int row, int panel) const { return start + (panel * Rows + row) * 64; }
  // Begins to copy rows from `row` on of head h, counted at `barrier`; zeros beyond the last.
  __device__ __forceinline__ void copy(const TensorMap& map, Barrier barrier, int b, int row, int h) const {
#pragma unroll
    for (int panel = 0; panel < E / 64; panel++) {
#pragma unroll
      for (int r = 0; r < Rows; r += 64) copy_box(at(r, panel), map, barrier, h * E + panel * 64, row + r, b);
    }
  }
};
template <int E, int Rows>
__device__ __forceinline__ HeadPanels<E, Rows> head_panels(int byte) {
  return {shared<bf16>(byte)};
}

// Stages that are filled and emptied in turn; n counts fillings. 2·Stages barriers.
template <int Stages>
struct Pipe {
  static constexpr int kBytes = 2 * Stages * 8;
  Barrier start;

  __device__ __forceinline__ Barrier full(int n) const { return start + n % Stages; }
  __device__ __forceinline__ Barrier empty(int n) const { return start + (Stages + n % Stages); }
  // By one thread. A stage is full when as many as `producers` have arrived, and the bytes that were announced.
  __device__ __forceinline__ void make(unsigned producers, unsigned consumers = kConsumerWarps) const {
    for (int n = 0; n < Stages; n++) {
      make_barrier(full(n), producers);
      make_barrier(empty(n), consumers);
    }
  }
  __device__ __forceinline__ void wait_full(int n) const { wait_at(full(n), n / Stages & 1); }
  __device__ __forceinline__ void wait_empty(int n) const { wait_at(empty(n), (n / Stages & 1) ^ 1); }
  __device__ __forceinline__ void release(int n) const {
    if (lane_index() == 0) arrive(empty(n));
  }
};

// make() by one thread; then all may use the barriers that it makes.
template <class Make>
__device__ __forceinline__ void make_barriers(Make make) {
  if (threadIdx.x == 0) {
    make();
    fence_barriers();
  }
  __syncthreads();
}

// 128 rows of a head; tile 0 has the most work, −1 says that nothing is left. `skipped` tiles of the other side have nothing for them, besides
// what place says.
struct GroupWork {
  int tile, b, h, skipped;
};

// Work as it is dealt to blocks that are free: tile 0 of `at_once` heads, then tile 1 …, then the next heads.
struct Dealer {
  static constexpr unsigned kWarp = 3;
  static constexpr int kBytes = Pipe<2>::kBytes + 8 + 32;
  Pipe<2> pipe;
  Barrier asked;
  Shared<int> slots;

  __device__ __forceinline__ explicit Dealer(int byte)
      : pipe{shared<uint64_t>(byte)}, asked(shared<uint64_t>(byte + Pipe<2>::kBytes)), slots(shared<int>(byte + Pipe<2>::kBytes + 8)) {}

  // `producers` warps take what consumers take.
  __device__ __forceinline__ void make(unsigned producers) const {
    pipe.make(1, kConsumerWarps + producers);
    make_barrier(asked, 1);
  }
  // By the thread that begins copies, when all of this piece's have begun: whoever asks earlier may hold what another could begin.
  __device__ __forceinline__ void ask() const { arrive(asked); }

  // By the dealer's warp: all pieces of `heads` heads in each entry.
  template <class Skipped>
  __device__ __forceinline__ void deal(const GroupAttention& args, int heads, Skipped skipped) const {
    int number = static_cast<int>(blockIdx.x);
    for (int n = 0;; n++) {
      GroupWork work = {-1, 0, 0, 0};
      if (number < args.pieces) {
        const int begin = number / (args.at_once * args.tiles) * args.at_once;
        const int within = number - begin * args.tiles;
        const int count = min(args.at_once, args.attention.B * heads - begin);
        const int head = begin + within % count;
        work = {within / count, head / heads, head % heads, 0};
        work.skipped = skipped(work);
      }
      pipe.wait_empty(n);
      if (lane_index() == 0) {
        const Shared<int> slot = slots + n % 2 * 4;
        slot[0] = work.tile;
        slot[1] = work.b;
        slot[2] = work.h;
        slot[3] = work.skipped;
        arrive(pipe.full(n));
      }
      if (work.tile < 0) return;
      wait_at(asked, n & 1);
      if (lane_index() == 0) number = take_number(args.dealt) + args.blocks;
      number = shuffle(number, 0);
    }
  }
  // By one thread of a warp, and by all.
  __device__ __forceinline__ GroupWork take_alone(int n) const {
    pipe.wait_full(n);
    const Shared<int> slot = slots + n % 2 * 4;
    const GroupWork work = {slot[0], slot[1], slot[2], slot[3]};
    arrive(pipe.empty(n));
    return work;
  }
  __device__ __forceinline__ GroupWork take(int n) const {
    pipe.wait_full(n);
    const int mine = slots[n % 2 * 4 + static_cast<int>(lane_index()) % 4];
    __syncwarp();
    pipe.release(n);
    // From one lane: so the compiler knows that all have the same, and where it may keep what follows from it.
    return {shuffle(mine, 0), shuffle(mine, 1), shuffle(mine, 2), shuffle(mine, 3)};
  }
};

// The tiles of keys that a block's 128 queries see any of.
template <int Rows>
struct KeyTiles {
  int first_query, last_query, from, tiles;

  // The last queries of `query_tiles` come first: they have the most work.
  __device__ __forceinline__ KeyTiles(const Attention& args, const GroupWork& work, int query_tiles, int offset) {
    first_query = (query_tiles - 1 - work.tile) * kBlockRows;
    last_query = min(first_query + kBlockRows, args.T) - 1;
    from = keys_of(args, offset + first_query).first / Rows * Rows + work.skipped * Rows;
    tiles = (offset + last_query - from) / Rows + 1;
  }
  // Tile n begins with this key; those next to the queries come first.
  __device__ __forceinline__ int key(int n) const { return from + (tiles - 1 - n) * Rows; }
};

// Of a query, for p = 2^(s·unit − lse) and ds = p (dp − delta).
struct Statistic {
  float lse;  // in units of log₂; ∞ where there is no query, which makes p 0
  float delta;
};
__device__ __forceinline__ Statistic statistic(const Attention& args, int head, int query) {
  if (query >= args.T) return {INFINITY, 0};
  return {args.lse[head + query] * kLog2e, args.delta[head + query]};
}

// scores = 64 rows of `left` from `row` on · all rows of `right`, transposed; begins, and commits.
template <int E, int Left, int Right>
__device__ __forceinline__ void begin_scores(GroupSums<Right>& scores, const HeadPanels<E, Left>& left, int row,
                                             const HeadPanels<E, Right>& right) {
#pragma unroll
  for (int e = 0; e < E; e += 16) {
    multiply_tiles<Right, false, false>(scores, left.at(row, e / 64), 0, right.at(0, e / 64), 0, e % 64, e > 0);
  }
  commit_products();
}

// sums [64, E] += weights [64, Rows] · tile [Rows, E]; begins, and commits.
template <int E, int Rows>
__device__ __forceinline__ void begin_sums(GroupSums<E>& sums, const uint32_t (&weights)[Rows / 16][4], const HeadPanels<E, Rows>& tile) {
#pragma unroll
  for (int k = 0; k < Rows / 16; k++) multiply_tiles<E, true>(sums, weights[k], tile.start, tile.kPanelBytes, 16 * k, true);
  commit_products();
}

// Sums [64, N] as a left operand: they lie in the same places.
template <int N>
__device__ __forceinline__ void pack_weights(uint32_t (&weights)[N / 16][4], const GroupSums<N>& sums) {
#pragma unroll
  for (int k = 0; k < N / 16; k++) {
#pragma unroll
    for (int i = 0; i < 4; i++) weights[k][i] = pack_bf16(sums[8 * k + 2 * i], sums[8 * k + 2 * i + 1]);
  }
}

// Rows [64, E] of sums times `scale` (of half 0, 1), row r of the warpgroup to row first + r of head h, as far as there are `rows`.
template <int E>
__device__ __forceinline__ void store_group(const GroupSums<E>& sums, const float (&scale)[2], void* data, int b, int rows, int first,
                                            int heads, int h) {
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int row = first + group_row(half);
    bf16* const to = static_cast<bf16*>(data) + ((static_cast<int64_t>(b) * rows + row) * heads + h) * E;
#pragma unroll
    for (int column = 0; column < E; column += 32) {
      // Each of the four lanes of a row has a pair of four chunks of 8 columns, and then one chunk.
      Pack<uint32_t, 4> chunk;
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int at = column / 2 + 4 * i + 2 * half;
        chunk.v[i] = pack_bf16(sums[at] * scale[half], sums[at + 1] * scale[half]);
      }
      transpose_quad(chunk.v);
      if (row < rows) store_pack<uint32_t, 4>(reinterpret_cast<uint32_t*>(to + column + 4 * group_column()), chunk);
    }
  }
}

}  // namespace slayer::cuda
