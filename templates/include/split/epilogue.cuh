#pragma once

#include "split/epilogue_columns.cuh"
#include "split/epilogue_rows.cuh"
#include "split/mainloop.cuh"
#include "split/output_tile.cuh"

// What becomes of a split's output.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

template <class Traits>
struct Epilogue {
  const SharedStorage<Traits> smem;
  const TileCoord<Traits> coord;
  const OutputTile<Traits> out;
  const float softmax_scale_log2;

  __device__ __forceinline__ void store(float (&acc_o)[Traits::kTilesHead][4], const RowSoftmax<Traits> &softmax,
                                        POperand<Traits> (&p)[Traits::kParts]) const {
    if constexpr (Traits::kMerge == Merge::kNone) {
      if constexpr (!Traits::kIsOnline) wait_o<Traits>(acc_o, p);
      store_rows(acc_o, softmax);
    } else if constexpr (Traits::kMerge == Merge::kColumns) {
      merge_columns(smem, coord, out, softmax_scale_log2, acc_o, softmax, p);
    } else {
      merge_rows(smem, coord, out, softmax_scale_log2, acc_o, softmax, p);
    }
  }

  // Rows whose keys are not split, divided by their sums.
  __device__ __forceinline__ void store_rows(const float (&acc_o)[Traits::kTilesHead][4],
                                             const RowSoftmax<Traits> &softmax) const {
    const OutputTile<Traits> rows = out.from(coord.warp_row);
#pragma unroll
    for (int half = 0; half < Traits::kRowsPerLane; ++half) {
      const float factor = reciprocal(softmax.row_sum[half]);
      const int row = half * 8 + threadIdx.x % 32 / 4;
      float columns[Traits::kTilesHead][2];
#pragma unroll
      for (int t = 0; t < Traits::kTilesHead; ++t)
#pragma unroll
        for (int i = 0; i < 2; ++i) columns[t][i] = acc_o[t][2 * half + i] * factor;
      rows.store(rows.row_pointer(row), columns, row);
    }
  }
};

}  // namespace evoflash::split
#endif
