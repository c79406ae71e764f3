#pragma once

#include "mma/mainloop.cuh"
#include "mma/output_tile.cuh"
#include "split_scales.cuh"
#include "warp.cuh"

// The end of a tile with one slice: rows are divided by their sums and stored.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits, Merge = Traits::kMerge>
struct Epilogue {
  // What storing holds in registers.
  struct MergeFragments {
    float columns[Traits::kTilesValue][2];
  };

  const WarpCoord<Traits> &coord;
  const SharedStorage<Traits> &storage;

  __device__ __forceinline__ void send_stats(Fragments<Traits> &) const {}

  __device__ __forceinline__ void store(const Fragments<Traits> &fragments, MergeFragments &merge,
                                        const OutputTile<Traits> &out) const {
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = coord.row_of_lane(m, half);
        const float row_sum = warp_reduce_sum<4>(fragments.softmax[m].row_sum[half]);
        float factor;
        if constexpr (Traits::kIsSplitKv) {
          if (coord.lane % 4 == 0 && (Traits::kIsEvenM || row < out.rows_left))
            out.stats[row] = make_float2(fragments.softmax[m].offset[half], row_sum);
          factor = kIsNormalized<typename Traits::ElementPartial> ? inverse_sum(row_sum) : 1.0f;
        } else {
          factor = inverse_total<kHasBlindRows<Traits>>(row_sum);
          if (Traits::kStoresLse && coord.lane % 4 == 0 && (Traits::kIsEvenM || row < out.rows_left))
            out.store_lse(row, make_float2(fragments.softmax[m].offset[half], row_sum));
        }
#pragma unroll
        for (int t = 0; t < Traits::kTilesValue; ++t)
#pragma unroll
          for (int i = 0; i < 2; ++i) merge.columns[t][i] = fragments.acc_o[m][t][2 * half + i] * factor;
        out.store(row, 0, merge.columns, Traits::kIsEvenM || row < out.rows_left);
      }
  }
};

}  // namespace evoflash::mma
#endif
