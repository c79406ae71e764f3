#pragma once

#include "cp_async.cuh"

// Tiles of 2-byte elements in shared memory.
//
// A tile consists of panels of kPanelDims columns. The rows of a panel follow each other without padding, in units of
// 16 bytes. ldmatrix reads the same unit of eight consecutive rows at once, so these must lie in different banks.
// Therefore units are swizzled as TMA swizzles them: unit u of row r lies at position u ^ swizzle(r). A panel's row of
// 64 elements covers the 32 banks once. With 32 elements two rows do, and they share a permutation.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <int kHeadDim_>
struct SmemTile {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kUnitBytes = 16;
  static constexpr int kPanelDims = kHeadDim % 64 == 0 ? 64 : 32;
  static constexpr int kPanelRowBytes = 2 * kPanelDims;
  static constexpr int kPanelUnits = kPanelDims / 8;
  static constexpr int kPanels = kHeadDim / kPanelDims;

  __device__ __forceinline__ static int swizzle(int row) {
    if constexpr (kPanelDims == 64) {
      return row % 8;
    } else {
      return row / 2 % 4;
    }
  }

  // The byte offset of a unit within a panel.
  __device__ __forceinline__ static int unit_offset(int row, int unit) {
    return row * kPanelRowBytes + (unit ^ swizzle(row)) * kUnitBytes;
  }
};

// The address of which a lane gives ldmatrix.x4 one row. An instruction reads 16 x 16 elements, that is 16 rows of two
// units, as four 8 x 8 matrices.
template <class Tile>
struct LdmatrixLane {
  int offset;

  // Matrices from top to bottom, then from left to right: an A operand, or B operands when transposed.
  __device__ __forceinline__ static LdmatrixLane top_down() {
    return {Tile::unit_offset(threadIdx.x % 16, threadIdx.x / 16 % 2)};
  }

  // Matrices from left to right, then from top to bottom: B operands of eight rows each, not transposed.
  __device__ __forceinline__ static LdmatrixLane left_right() {
    return {Tile::unit_offset(threadIdx.x % 8 + threadIdx.x / 16 % 2 * 8, threadIdx.x / 8 % 2)};
  }

  // The lane's offset for the 16 x 16 elements from `row` (a multiple of 16) and from column 16 * k on, in a tile of
  // kTileRows rows. A permutation among 2^n units is an exclusive or on n bits, so a step within a panel is one, too.
  template <int kTileRows>
  __device__ __forceinline__ int at(int row, int k) const {
    const int panel = 2 * k / Tile::kPanelUnits, within = 2 * k % Tile::kPanelUnits * Tile::kUnitBytes;
    return (offset ^ within) + (panel * kTileRows + row) * Tile::kPanelRowBytes;
  }
};

// kNumThreads threads copy kRows rows by cp.async into a tile of kTileRows rows. Rows from `limit` on become zeros.
// `row_units` is the stride between rows in units of 16 bytes, and kUnroll the loop's unroll factor (0: whole). Of a
// head size kColumns (a multiple of 8) that the tile exceeds, columns up to the next multiple of 16 become zeros.
//
// Consecutive threads copy consecutive units, and a thread copies the same unit of each of its rows. All addresses
// follow from the first by constants and the stride: a kernel's first copies wait for this arithmetic.
template <class Tile, int kRows, int kTileRows, int kNumThreads, int kUnroll, int kColumns = Tile::kHeadDim>
__device__ __forceinline__ void copy_rows(unsigned char *tile, const unsigned char *gmem, int row_units, int thread,
                                          int limit) {
  constexpr int kRowsAtOnce = kNumThreads / Tile::kPanelUnits;
  const int own_row = unsigned(thread) / Tile::kPanelUnits, unit = unsigned(thread) % Tile::kPanelUnits;
  const int offset = Tile::unit_offset(own_row, unit);
  const unsigned char *source = gmem + (int64_t(own_row) * row_units + unit) * Tile::kUnitBytes;
#pragma unroll(kUnroll > 0 ? kUnroll : kRows)
  for (int row = 0; row < kRows; row += kRowsAtOnce) {
    if (kRows % kRowsAtOnce != 0 && row + own_row >= kRows) break;
    unsigned char *target = tile + (offset ^ Tile::swizzle(row) * Tile::kUnitBytes) + row * Tile::kPanelRowBytes;
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel) {
      bool pred = row + own_row < limit;
      if constexpr (kColumns < Tile::kHeadDim) {
        const int column = (panel * Tile::kPanelUnits + unit) * 8;
        if (column >= (kColumns + 15) / 16 * 16) continue;
        pred &= column < kColumns;
      }
      cp_async(target + panel * kTileRows * Tile::kPanelRowBytes, source + panel * Tile::kPanelRowBytes, pred);
    }
    source += int64_t(row_units) * (kRowsAtOnce * Tile::kUnitBytes);
  }
}

}  // namespace evoflash
#endif
