#pragma once

#include "linear_mma/arguments.cuh"
#include "linear_mma/kernel_traits.cuh"

// Loads the stages of x and of the weight by cp.async.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_mma {

// A thread's part of the copies of kRows rows: the same 16 bytes of each of its rows. What lies beyond the matrix
// becomes zeros.
template <class Traits, int kRows>
struct RowCopies {
  using Tile = SmemTile<Traits::kBlockK>;
  static constexpr int kRowsAtOnce = Traits::kNumThreads / Tile::kUnits;
  static_assert(Traits::kNumThreads % Tile::kUnits == 0 && kRowsAtOnce % 8 == 0, "rows share their swizzle");

  const unsigned char *source;
  int64_t step_bytes;
  int offset, unit, rows;  // how many of the tile's rows are left from this thread's first one on

  __device__ __forceinline__ RowCopies(const linear::Rows &matrix, int first_row, int num_rows) {
    const int own_row = threadIdx.x / Tile::kUnits;
    unit = threadIdx.x % Tile::kUnits;
    offset =
        Tile::unit_offset(own_row, unit % Tile::kPanelUnits) + unit / Tile::kPanelUnits * kRows * Tile::kPanelRowBytes;
    source = matrix.at(first_row + own_row, 8 * unit);
    step_bytes = matrix.row_bytes * kRowsAtOnce;
    rows = num_rows - first_row - own_row;
  }

  // The terms from `k` on, of which the matrix has `k_end`.
  __device__ __forceinline__ void copy(unsigned char *tile, int k, int k_end) const {
    const bool has_terms = k + 8 * unit < k_end;
    const unsigned char *from = source + 2 * int64_t(k);
#pragma unroll
    for (int row = 0; row < kRows; row += kRowsAtOnce) {
      if (kRows % kRowsAtOnce != 0 && row + int(threadIdx.x / Tile::kUnits) >= kRows) break;
      cp_async(tile + offset + row * Tile::kPanelRowBytes, from, has_terms && row < rows);
      from += step_bytes;
    }
  }
};

}  // namespace evoflash::linear_mma
#endif
