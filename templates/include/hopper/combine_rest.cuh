#pragma once

#include "combine.cuh"
#include "hopper/arguments.cuh"
#include "hopper/tile_coord.cuh"

// The second kernel where only the keys of the last tiles are split: a thread combines eight columns of a row of these.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

template <class Traits>
__device__ __forceinline__ void combine_rest(const Arguments<Traits> &args) {
  using ElementPartial = typename Traits::ElementPartial;
  constexpr int kThreadsPerRow = kCombineThreadsPerRow<Traits::kValueDim>;
  const int item = blockIdx.x * kCombineThreads + threadIdx.x, partial = item / kThreadsPerRow,
            unit = item % kThreadsPerRow;
  if (partial >= args.partials.rows) return;
  const int rest = partial / Traits::kTileRows, within = partial % Traits::kTileRows;
  const int number = within / Traits::kWarpgroupM;  // of the warpgroup, in the cluster
  const TileCoord<Traits> coord = make_tile_coord(args, args.whole_tiles + rest * Traits::kNumSplits);
  const TileCoord<Traits> own =
      coord_of_warpgroup(coord, number % Traits::kNumWarpgroups, number / Traits::kNumWarpgroups);
  const int row = own.first_row + within % Traits::kWarpgroupM;
  if (row >= args.seq_q) return;
  float scales[Traits::kNumSplits];
  const float2 total = split_scales<ElementPartial>(
      scales, reinterpret_cast<const float2 *>(args.partials.stats) + partial, args.partials.rows);
  normalize_scales<kHasBlindRows<Traits>>(scales, total.y);
  float acc[8] = {};
  combine_columns<ElementPartial, Traits::kValueDim>(acc, args.partials, scales, partial, unit);
  store_8<typename Traits::Element>(row_of(args.combined, own.bidb, own.bidh, row) + unit * 16, acc);
}

}  // namespace evoflash::hopper
#endif
