#pragma once

// See fragments.cuh.
namespace evoflash::wmma {}

#include "pairs.cuh"
#include "softmax.cuh"
#include "warp.cuh"
#include "wmma/fragments.cuh"
#include "wmma/softmax_state.cuh"
#include "wmma/storage.cuh"

// The end of a tile: the partial outputs of its slices of the keys become one, and are stored.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

// Writes a warp's output, maxima and sums; `row` is the first of its rows in the block.
template <class Traits>
__device__ __forceinline__ void write_partials(Partials<Traits> &partials, SoftmaxState<Traits> &state, int row,
                                               int slice) {
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m) {
#pragma unroll
    for (int d = 0; d < Traits::kTilesHead; ++d)
      store_matrix_sync(&partials.out[slice][row + m * 16][d * 16], state.acc_o[m][d], Traits::kPitchPartial,
                        mem_row_major);
    if constexpr (Traits::kIsSoftmaxInFragments) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float row_sum = warp_reduce_sum<4>(state.row_sum[m][half]);
        const int own_row = row + m * 16 + threadIdx.x % 32 / 4 + 8 * half;
        if (threadIdx.x % 4 == 0) {
          partials.row_max[slice][own_row] = state.row_max[m][half];
          partials.row_sum[slice][own_row] = row_sum;
        }
      }
    } else {
      const float row_sum = warp_reduce_sum<2>(state.row_sum[m]);
      const int own_row = row + m * 16 + threadIdx.x % 32 / 2;
      if (threadIdx.x % 2 == 0) {
        partials.row_max[slice][own_row] = state.row_max[m];
        partials.row_sum[slice][own_row] = row_sum;
      }
    }
  }
}

// All threads store the rows below `limit`, eight columns a thread: the slices' outputs are brought to the row's
// maximum, added up, and divided by the row's sum.
template <class Traits>
__device__ __forceinline__ void merge_partials(const Partials<Traits> &partials, Operand<Traits> *out, int stride,
                                               int limit, float softmax_scale_log2) {
  constexpr int kUnits = Traits::kHeadDim / 8;
  for (int i = threadIdx.x; i < Traits::kBlockM * kUnits; i += Traits::kNumThreads) {
    const int row = i / kUnits, column = i % kUnits * 8;
    if (row >= limit) break;
    float row_sum = 0;
    float result[8] = {};
    if constexpr (Traits::kWarpsN > 1) {
      float row_max = kNoMaximum;
#pragma unroll
      for (int slice = 0; slice < Traits::kWarpsN; ++slice) row_max = fmaxf(row_max, partials.row_max[slice][row]);
#pragma unroll
      for (int slice = 0; slice < Traits::kWarpsN; ++slice) {
        const float scale = exponential2_from_max<Traits>(partials.row_max[slice][row], row_max, softmax_scale_log2);
        row_sum = fmaf(partials.row_sum[slice][row], scale, row_sum);
        const float4 *part = reinterpret_cast<const float4 *>(&partials.out[slice][row][column]);
        const float4 low = part[0], high = part[1];
        const float columns[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
        for (int c = 0; c < 8; ++c) result[c] = fmaf(columns[c], scale, result[c]);
      }
    } else {
      row_sum = partials.row_sum[0][row];
      const float4 *part = reinterpret_cast<const float4 *>(&partials.out[0][row][column]);
      const float4 low = part[0], high = part[1];
      result[0] = low.x, result[1] = low.y, result[2] = low.z, result[3] = low.w;
      result[4] = high.x, result[5] = high.y, result[6] = high.z, result[7] = high.w;
    }
    const float inverse = 1 / row_sum;
#pragma unroll
    for (int c = 0; c < 8; ++c) result[c] *= inverse;
    store_8<typename Traits::Element>(out + int64_t(row) * stride + column, result);
  }
}

}  // namespace evoflash::wmma
#endif
