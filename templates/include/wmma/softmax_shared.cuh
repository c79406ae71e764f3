#pragma once

// See fragments.cuh.
namespace evoflash::wmma {}

#include "pairs.cuh"
#include "problem.cuh"
#include "softmax.cuh"
#include "warp.cuh"
#include "wmma/fragments.cuh"
#include "wmma/softmax_state.cuh"

// Softmax on rows in shared memory, where a row is what it seems, whatever the layout of fragments.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

// Scores become probabilities, by way of the warp's own piece of shared memory; what was summed up before is rescaled
// to the new maximum. `row` and `key` are the first of the warp's rows and of the slice. Unless `is_masked`, all of the
// rows see all of the keys.
template <class Traits>
__device__ __forceinline__ void online_softmax(const Scores<Traits> &acc_s, SoftmaxState<Traits> &state,
                                               float (*s)[Traits::kPitchS], Operand<Traits> (*p)[Traits::kPitchP],
                                               float *scores_scale, const AttentionProblem &problem, int row, int key,
                                               bool is_masked, float softmax_scale_log2) {
  using Element = typename Traits::Element;
  __syncwarp();  // what the step before has left there has been read
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
    for (int n = 0; n < Traits::kTilesN; ++n)
      store_matrix_sync(&s[m * 16][n * 16], acc_s[m][n], Traits::kPitchS, mem_row_major);
  __syncwarp();

  // Lanes 2n and 2n + 1 share row n and take turns, four columns each: if rows are padded, the lanes of a load find all
  // of them in different banks.
  const int own_row = threadIdx.x % 32 / 2, own_column = threadIdx.x % 2 * 4;
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m) {
    float score[Traits::kWarpN / 8][4];
    float row_max[1] = {state.row_max[m]};
    const int visible =
        is_masked ? visible_keys<Traits::kIsCausal>(problem, row + m * 16 + own_row) - key : Traits::kWarpN;
#pragma unroll
    for (int c = 0; c < Traits::kWarpN / 8; ++c) {
      const float4 four = *reinterpret_cast<const float4 *>(&s[m * 16 + own_row][c * 8 + own_column]);
      score[c][0] = four.x, score[c][1] = four.y, score[c][2] = four.z, score[c][3] = four.w;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (c * 8 + own_column + i >= visible) score[c][i] = -INFINITY;
        row_max[0] = fmaxf(row_max[0], score[c][i]);
      }
    }
    row_max[0] = warp_reduce_max<2>(row_max[0]);
    const float row_scale = exponential2_from_max<Traits>(state.row_max[m], row_max[0], softmax_scale_log2);
    state.row_max[m] = row_max[0];
    state.row_sum[m] *= row_scale;
    const Origin<1> origin(row_max, softmax_scale_log2);
    if (origin.is_shifted) {
#pragma unroll
      for (int c = 0; c < Traits::kWarpN / 8; ++c)
#pragma unroll
        for (int i = 0; i < 4; ++i) score[c][i] -= origin.shift[0];
    }
    scores_scale[m * 16 + own_row] = row_scale;  // both lanes write the same
    if constexpr (Traits::kProbabilitiesIn == ProbabilitiesIn::kInPlace)
      __syncwarp();  // the row's other lane has read its scores: P may overwrite them
#pragma unroll
    for (int c = 0; c < Traits::kWarpN / 8; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        score[c][i] = exponential2<Traits>(fmaf(score[c][i], softmax_scale_log2, -origin.offset[0]));
        state.row_sum[m] += score[c][i];
      }
      *reinterpret_cast<uint2 *>(&p[m * 16 + own_row][c * 8 + own_column]) =
          make_uint2(pack<Element>(score[c][0], score[c][1]), pack<Element>(score[c][2], score[c][3]));
    }
    const bool rescales = Traits::kRescaleAlways || __any_sync(kAllLanes, row_scale != 1.0f);
    __syncwarp();  // scores_scale and P are written
    if (!rescales) continue;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const float element_scale = scores_scale[m * 16 + state.element_row[i]];
#pragma unroll
      for (int d = 0; d < Traits::kTilesHead; ++d) state.acc_o[m][d].x[i] *= element_scale;
    }
  }
}

}  // namespace evoflash::wmma
#endif
