#pragma once

#include "decode/gemm.cuh"
#include "decode/tile_coord.cuh"
#include "math.cuh"
#include "softmax.cuh"
#include "warp.cuh"

// Online softmax on transposed scores (see gemm.cuh). Scores are unscaled: softmax_scale_log2 is applied together with
// the exponential.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// Reductions over the eight lanes that share rows 2c and 2c + 1.
template <class Combine>
__device__ __forceinline__ float reduce_row(float value, const Combine &combine) {
#pragma unroll
  for (int distance = 4; distance < 32; distance *= 2)
    value = combine(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}

// Hides the keys that a row does not see.
template <class Traits>
__device__ __forceinline__ void apply_mask(Scores<Traits> &acc_s, const TileCoord<Traits> &coord, int first_key) {
  const int lane_key = first_key + threadIdx.x % 32 / 4;
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = coord.first_row + m * 8 + threadIdx.x % 4 * 2 + i;
      const KeyRange visible = visible_keys(coord.args, coord.num_keys, coord.args.group.divide(row));
      const auto is_hidden = [&](int key) { return key >= visible.end || (Traits::kIsBanded && key < visible.begin); };
#pragma unroll
      for (int n = 0; n < Traits::kTilesN; ++n) {
        if (is_hidden(lane_key + n * 16)) acc_s[n][m][i] = -INFINITY;
        if (is_hidden(lane_key + n * 16 + 8)) acc_s[n][m][2 + i] = -INFINITY;
      }
    }
}

template <class Traits>
struct ColumnSoftmax {
  float row_max[Traits::kTilesM][2];       // of rows 2c and 2c + 1 of each tile
  float row_sum[Traits::kTilesM][2] = {};  // of this lane's keys

  __device__ __forceinline__ ColumnSoftmax() {
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m) row_max[m][0] = row_max[m][1] = kNoMaximum;
  }

  // Scores become probabilities. Where a maximum grows, what was summed up before is rescaled.
  __device__ __forceinline__ void step(Scores<Traits> &acc_s, Output<Traits> &acc_o, float softmax_scale_log2) {
    raise_max(acc_s, acc_o, softmax_scale_log2);
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m) {
      const Origin<2> origin(row_max[m], softmax_scale_log2);
      if (origin.is_shifted) {
#pragma unroll
        for (int n = 0; n < Traits::kTilesN; ++n)
#pragma unroll
          for (int i = 0; i < 4; ++i) acc_s[n][m][i] -= origin.shift[i % 2];
      }
#pragma unroll
      for (int n = 0; n < Traits::kTilesN; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          acc_s[n][m][i] = exp2_approx(fmaf(acc_s[n][m][i], softmax_scale_log2, -origin.offset[i % 2]));
          row_sum[m][i % 2] += acc_s[n][m][i];
        }
    }
  }

  // The sums over all lanes.
  __device__ __forceinline__ void reduce_sums() {
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int i = 0; i < 2; ++i) row_sum[m][i] = reduce_row(row_sum[m][i], [](float a, float b) { return a + b; });
  }

 private:
  __device__ __forceinline__ void raise_max(const Scores<Traits> &acc_s, Output<Traits> &acc_o,
                                            float softmax_scale_log2) {
    float maximum[Traits::kTilesM][2];
    bool is_raised = false;
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        float own = row_max[m][i];
#pragma unroll
        for (int n = 0; n < Traits::kTilesN; ++n) own = fmaxf(own, fmaxf(acc_s[n][m][i], acc_s[n][m][2 + i]));
        maximum[m][i] = reduce_row(own, [](float a, float b) { return fmaxf(a, b); });
        is_raised |= maximum[m][i] > row_max[m][i];
      }
    if (!__any_sync(kAllLanes, is_raised)) return;
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const bool is_higher = maximum[m][i] > row_max[m][i];
        const float scale = is_higher ? exp2_from_max(row_max[m][i], maximum[m][i], softmax_scale_log2) : 1.0f;
        row_max[m][i] = maximum[m][i];
        row_sum[m][i] *= scale;
#pragma unroll
        for (int k = 0; k < Traits::kTilesHead; ++k) {
          acc_o[k][m][i] *= scale;
          acc_o[k][m][2 + i] *= scale;
        }
      }
  }
};

}  // namespace evoflash::decode
#endif
