#pragma once

#include "cp_async.cuh"
#include "decode/tile_coord.cuh"
#include "smem_tile.cuh"
#include "warp.cuh"

// Keys and values in pages. The numbers of a step's pages are loaded a step before its copies are issued, as these
// would wait for them.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// The pages of a step of a warp: each lane has the number of one.
template <class Traits, bool kIsPaged = Traits::kIsPaged>
struct StepPages {
  __device__ __forceinline__ static StepPages of(const TileCoord<Traits> &, const WarpSteps &, int) { return {}; }
};

template <class Traits>
struct StepPages<Traits, true> {
  int number;

  // Zero for pages that no row of the tile sees: the block table need not have them.
  __device__ __forceinline__ static StepPages of(const TileCoord<Traits> &coord, const WarpSteps &steps, int step) {
    const int lane = threadIdx.x % 32;
    const int key = steps.template first_key<Traits>(step) + lane * Traits::kPageRows;
    if (step >= steps.count || lane >= Traits::kStepPages || key >= coord.some.end) return {0};
    return {coord.args.block_table[coord.bidb * coord.args.table_stride + key / Traits::kPageSize]};
  }

  // By all lanes.
  __device__ __forceinline__ int at(int page) const { return __shfl_sync(kAllLanes, number, page); }
};

// A warp copies the rows of a step by cp.async, as copy_rows does; rows from `limit` on become zeros.
template <class Traits>
__device__ __forceinline__ void copy_pages(unsigned char *tile, const Tensor &tensor, int kv_head,
                                           const StepPages<Traits> &pages, int first_key, int lane, int limit) {
  using Tile = KvTileOf<Traits>;
  constexpr int kRows = Traits::kWarpN, kUnits = Tile::kUnits, kUnitBytes = Tile::kUnitBytes;
  constexpr bool kHasPanels = Tile::Panel::kIsSwizzled;
  constexpr int kParts = kHasPanels ? Tile::kPanels : (kUnits + 15) / 16;
  constexpr int kPartUnits = (kUnits + kParts - 1) / kParts, kRowsAtOnce = 32 / kPartUnits;
  constexpr int kPartBytes = kPartUnits * kUnitBytes;
  const int own_row = unsigned(lane) / kPartUnits, unit = unsigned(lane) % kPartUnits;
  const bool is_idle = 32 % kPartUnits != 0 && own_row >= kRowsAtOnce;
  const unsigned char *const head = row_of(tensor, 0, kv_head, 0) + unit * kUnitBytes;
  const int row_in_page = first_key % Traits::kPageSize;  // above 0 where a step is a part of a page
#pragma unroll 4
  for (int first = 0; first < kRows; first += kRowsAtOnce) {
    const int row = first + own_row;
    const int page = pages.at(row / Traits::kPageRows % Traits::kStepPages);
    if (is_idle || row >= kRows) continue;
    const int64_t place = int64_t(page) * tensor.batch + int64_t(row_in_page + row % Traits::kPageRows) * tensor.row;
    unsigned char *const target = tile + Tile::unit_offset(row, unit);
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      if (kUnits % kPartUnits != 0 && part * kPartUnits + unit >= kUnits) break;  // in the last part
      cp_async(target + part * (kHasPanels ? kRows * Tile::kPanelRowBytes : kPartBytes),
               head + place * 16 + part * kPartBytes, row < limit);
    }
  }
}

}  // namespace evoflash::decode
#endif
