#pragma once

#include "split/epilogue_columns.cuh"
#include "split/epilogue_rows.cuh"
#include "split/gemm.cuh"
#include "split/storage.cuh"
#include "split/tile_coord.cuh"
#include "split/output_tile.cuh"

// What becomes of a split's output.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

// Where there is only one split: stores its rows, divided by their sums.
template <class Traits>
__device__ __forceinline__ void store_rows(const TileCoord<Traits> &coord, const OutputTile<Traits> &out,
                                           const float (&acc_o)[Traits::kTilesValue][4],
                                           const RowSoftmax<Traits> &softmax) {
  unsigned char *const first = out.row_pointer(coord.warp_row);
  const int num_rows = seq_q_of(out.args) - coord.first_row - coord.warp_row;
#pragma unroll
  for (int half = 0; half < Traits::kRowsPerLane; ++half) {
    const float factor = inverse_total<kHasBlindRows<Traits>>(softmax.row_sum[half]);
    const int row = half * 8 + threadIdx.x % 32 / 4;
    float columns[Traits::kTilesValue][2];
#pragma unroll
    for (int t = 0; t < Traits::kTilesValue; ++t)
#pragma unroll
      for (int i = 0; i < 2; ++i) columns[t][i] = acc_o[t][2 * half + i] * factor;
    unsigned char *const to = first + int64_t(row) * out.row_stride * 16;
    store_columns<Traits>(to, columns, Traits::kIsExactM || row < num_rows);
  }
}

template <class Traits>
__device__ __forceinline__ void epilogue(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord,
                                         const OutputTile<Traits> &out, float (&acc_o)[Traits::kTilesValue][4],
                                         const RowSoftmax<Traits> &softmax, POperand<Traits> (&p)[Traits::kParts]) {
  if constexpr (Traits::kMerge == Merge::kNone) {
    if constexpr (!Traits::kIsOnline) wait_o<Traits>(acc_o, p);
    store_rows<Traits>(coord, out, acc_o, softmax);
  } else if constexpr (Traits::kMerge == Merge::kColumns) {
    merge_columns<Traits>(smem, coord, out, acc_o, softmax, p);
  } else {
    merge_rows<Traits>(smem, coord, out, acc_o, softmax, p);
  }
}

}  // namespace evoflash::split
#endif
