#pragma once

#include "cp_async.cuh"

// Tiles of 2-byte elements in shared memory.
//
// A tile consists of panels. The rows of a panel follow each other, in units of 16 bytes. ldmatrix reads the same unit
// of eight consecutive rows at once, so these must lie in different banks.
//
// Where the head dimension is a multiple of 32, panels have 64 or 32 columns, and units are swizzled as TMA swizzles
// them: unit u of row r lies at position u ^ swizzle(r). A panel's row of 64 elements covers the 32 banks once. With 32
// elements two rows do, and they share a permutation.
//
// Other head dimensions, multiples of 8, have one panel, whose rows take an odd number of units: the last is padding
// where the columns fill an even number. The same unit of eight consecutive rows then lies in different banks by
// itself.
namespace evoflash {

template <int kHeadDim>
struct SmemPanel {
  static constexpr bool kIsSwizzled = kHeadDim % 32 == 0;
  static constexpr int kDims = kHeadDim % 64 == 0 ? 64 : kIsSwizzled ? 32 : (kHeadDim / 8 | 1) * 8;  // with padding
  static constexpr int kCount = kIsSwizzled ? kHeadDim / kDims : 1;
};

#ifndef EVOFLASH_HOST_ONLY
template <int kHeadDim_>
struct SmemTile {
  using Panel = SmemPanel<kHeadDim_>;
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kUnitBytes = 16;
  static constexpr int kUnits = kHeadDim / 8;  // of a row, without padding
  static constexpr int kPanelDims = Panel::kDims;
  static constexpr int kPanelRowBytes = 2 * kPanelDims;
  static constexpr int kPanelUnits = kPanelDims / 8;
  static constexpr int kPanels = Panel::kCount;

  __device__ __forceinline__ static int swizzle(int row) {
    if constexpr (!Panel::kIsSwizzled) {
      return 0;
    } else if constexpr (kPanelDims == 64) {
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
// units, as four 8 x 8 matrices. ldmatrix.x2 takes the addresses of the first 16 lanes.
template <class Tile>
struct LdmatrixLane {
  int offset;

  // Matrices from top to bottom, then from left to right: an A operand, or B operands when transposed. The first two
  // are 16 rows of one unit.
  __device__ __forceinline__ static LdmatrixLane top_down() {
    return {Tile::unit_offset(threadIdx.x % 16, threadIdx.x / 16 % 2)};
  }

  // Matrices from left to right, then from top to bottom: B operands of eight rows each, not transposed.
  __device__ __forceinline__ static LdmatrixLane left_right() {
    return {Tile::unit_offset(threadIdx.x % 8 + threadIdx.x / 16 % 2 * 8, threadIdx.x / 8 % 2)};
  }

  // The lane's offset for the 16 x 16 elements from `row` (a multiple of 16) and from column 16 * k on, in a tile of
  // kTileRows rows. A permutation among 2^n units is an exclusive or on n bits, so a step within a panel is one, too.
  // Without a permutation a step is a sum.
  template <int kTileRows>
  __device__ __forceinline__ int at(int row, int k) const {
    const int panel = 2 * k / Tile::kPanelUnits, within = 2 * k % Tile::kPanelUnits * Tile::kUnitBytes;
    const int in_panel = Tile::Panel::kIsSwizzled ? offset ^ within : offset + within;
    return in_panel + (panel * kTileRows + row) * Tile::kPanelRowBytes;
  }
};

// kNumThreads threads copy kRows rows by cp.async into a tile of kTileRows rows. Rows from `limit` on become zeros.
// `row_units` is the stride between rows in units of 16 bytes, and kUnroll the loop's unroll factor (0: whole).
//
// Consecutive threads copy consecutive units, and a thread copies the same units of each of its rows: one of each
// panel, or of each part where there is one panel. Threads left over, too few for another row, are idle. All addresses
// follow from the first by constants and the stride: a kernel's first copies wait for this arithmetic.
template <class Tile, int kRows, int kTileRows, int kNumThreads, int kUnroll>
__device__ __forceinline__ void copy_rows(unsigned char *tile, const unsigned char *gmem, int row_units, int thread,
                                          int limit) {
  constexpr bool kHasPanels = Tile::Panel::kIsSwizzled;
  constexpr int kParts = kHasPanels ? Tile::kPanels : (Tile::kUnits + 15) / 16;
  constexpr int kPartUnits = (Tile::kUnits + kParts - 1) / kParts, kRowsAtOnce = kNumThreads / kPartUnits;
  constexpr int kPartBytes = kPartUnits * Tile::kUnitBytes;
  const int own_row = unsigned(thread) / kPartUnits, unit = unsigned(thread) % kPartUnits;
  if (kNumThreads % kPartUnits != 0 && own_row >= kRowsAtOnce) return;
  const int offset = Tile::unit_offset(own_row, unit);
  const unsigned char *source = gmem + (int64_t(own_row) * row_units + unit) * Tile::kUnitBytes;
#pragma unroll(kUnroll > 0 ? kUnroll : kRows)
  for (int row = 0; row < kRows; row += kRowsAtOnce) {
    if (kRows % kRowsAtOnce != 0 && row + own_row >= kRows) break;
    unsigned char *target = tile + (offset ^ Tile::swizzle(row) * Tile::kUnitBytes) + row * Tile::kPanelRowBytes;
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      if (Tile::kUnits % kPartUnits != 0 && part * kPartUnits + unit >= Tile::kUnits) break;  // in the last part
      cp_async(target + part * (kHasPanels ? kTileRows * Tile::kPanelRowBytes : kPartBytes), source + part * kPartBytes,
               row + own_row < limit);
    }
    source += int64_t(row_units) * (kRowsAtOnce * Tile::kUnitBytes);
  }
}
#endif

}  // namespace evoflash
