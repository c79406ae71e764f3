#pragma once

// See fragments.cuh.
namespace evoflash::wmma {}

#include "pairs.cuh"
#include "problem.cuh"
#include "softmax.cuh"
#include "warp.cuh"
#include "wmma/fragments.cuh"
#include "wmma/layout.cuh"
#include "wmma/softmax_state.cuh"

// Softmax in the registers of accumulators.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

// Hides the keys that a row does not see; `row` and `key` are the first of the warp's rows and of the slice.
template <class Traits>
__device__ __forceinline__ void apply_mask(Scores<Traits> &acc_s, const AttentionProblem &problem, int row, int key) {
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const int visible =
          visible_keys<Traits::kIsCausal>(problem, row + m * 16 + threadIdx.x % 32 / 4 + 8 * half_of(i));
#pragma unroll
      for (int n = 0; n < Traits::kTilesN; ++n)
        if (key + n * 16 + column_of(i) >= visible) acc_s[m][n].x[i] = -INFINITY;
    }
}

// Scores become probabilities; what was summed up before is rescaled to the new maximum.
template <class Traits>
__device__ __forceinline__ void online_softmax(Scores<Traits> &acc_s, SoftmaxState<Traits> &state,
                                               float softmax_scale_log2) {
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m) {
    float scores_scale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float row_max = state.row_max[m][half];
#pragma unroll
      for (int n = 0; n < Traits::kTilesN; ++n)
#pragma unroll
        for (int i = 0; i < 8; ++i)
          if (half_of(i) == half) row_max = fmaxf(row_max, acc_s[m][n].x[i]);
      row_max = warp_reduce_max<4>(row_max);
      scores_scale[half] = exponential2_from_max<Traits>(state.row_max[m][half], row_max, softmax_scale_log2);
      state.row_max[m][half] = row_max;
      state.row_sum[m][half] *= scores_scale[half];
    }
    const Origin<2> origin(state.row_max[m], softmax_scale_log2);
    if (origin.is_shifted) {
#pragma unroll
      for (int n = 0; n < Traits::kTilesN; ++n)
#pragma unroll
        for (int i = 0; i < 8; ++i) acc_s[m][n].x[i] -= origin.shift[half_of(i)];
    }
#pragma unroll
    for (int n = 0; n < Traits::kTilesN; ++n)
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float &score = acc_s[m][n].x[i];
        score = exponential2<Traits>(fmaf(score, softmax_scale_log2, -origin.offset[half_of(i)]));
        state.row_sum[m][half_of(i)] += score;
      }
    if (Traits::kRescaleAlways || __any_sync(kAllLanes, scores_scale[0] != 1.0f || scores_scale[1] != 1.0f))
#pragma unroll
      for (int d = 0; d < Traits::kTilesHead; ++d)
#pragma unroll
        for (int i = 0; i < 8; ++i) state.acc_o[m][d].x[i] *= scores_scale[half_of(i)];
  }
}

// Writes P to the warp's own piece of shared memory, to be read as fragments of the other kind.
template <class Traits>
__device__ __forceinline__ void write_p(Operand<Traits> (*p)[Traits::kPitchP], const Scores<Traits> &acc_s) {
  __syncwarp();  // P of the step before has been read
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
    for (int n = 0; n < Traits::kTilesN; ++n)
#pragma unroll
      for (int i = 0; i < 8; i += 2)
        *reinterpret_cast<unsigned *>(&p[m * 16 + threadIdx.x % 32 / 4 + 8 * half_of(i)][n * 16 + column_of(i)]) =
            pack<typename Traits::Element>(acc_s[m][n].x[i], acc_s[m][n].x[i + 1]);
  __syncwarp();
}

}  // namespace evoflash::wmma
#endif
