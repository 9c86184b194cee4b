// Which tile of C a block makes.
#pragma once

#include "../cuda/device.h"

namespace slayer::cuda {

constexpr int kBand = 8;

// Where a block's tile begins. Tiles are taken in bands of kBand rows of tiles, so that neighbours in time share operands in L2.
struct TilePlace {
  int row, column;
};
__device__ __forceinline__ TilePlace tile_place(int m, int n, int rows, int columns, int tile) {
  const int tiles_m = (m + rows - 1) / rows;
  const int tiles_n = (n + columns - 1) / columns;
  const int band = tile / (kBand * tiles_n) * kBand;
  const int height = tiles_m - band < kBand ? tiles_m - band : kBand;
  const int in_band = tile - band * tiles_n;
  return {(band + in_band % height) * rows, in_band / height * columns};
}

}  // namespace slayer::cuda
