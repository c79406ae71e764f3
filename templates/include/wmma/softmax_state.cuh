#pragma once

// See fragments.cuh.
namespace evoflash::wmma {}

#include "math.cuh"
#include "softmax.cuh"
#include "wmma/fragments.cuh"
#include "wmma/kernel_traits.cuh"

// What a lane holds of its warp's rows.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

// The softmax works in fragments: a lane's elements lie in two rows of each, one of the first eight and one of the
// second.
template <class Traits, SoftmaxIn = Traits::kSoftmaxIn>
struct SoftmaxState {
  float row_max[Traits::kTilesM][2];  // of the unscaled scores
  float row_sum[Traits::kTilesM][2];  // of this lane's probabilities
  Accumulator acc_o[Traits::kTilesM][Traits::kTilesHead];

  __device__ __forceinline__ void init() {
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m) {
      row_max[m][0] = row_max[m][1] = kNoMaximum;
      row_sum[m][0] = row_sum[m][1] = 0;
#pragma unroll
      for (int d = 0; d < Traits::kTilesHead; ++d) fill_fragment(acc_o[m][d], 0.0f);
    }
  }
};

// The softmax works on rows in shared memory: two neighbouring lanes share a row of each fragment.
template <class Traits>
struct SoftmaxState<Traits, SoftmaxIn::kShared> {
  float row_max[Traits::kTilesM];
  float row_sum[Traits::kTilesM];
  int element_row[8];  // the row of each of this lane's elements of an accumulator
  Accumulator acc_o[Traits::kTilesM][Traits::kTilesHead];

  __device__ __forceinline__ void init() {
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m) {
      row_max[m] = kNoMaximum;
      row_sum[m] = 0;
#pragma unroll
      for (int d = 0; d < Traits::kTilesHead; ++d) fill_fragment(acc_o[m][d], 0.0f);
    }
  }
};

template <class Traits>
__device__ __forceinline__ float exponential2(float x) {
  if constexpr (Traits::kExponential == Exponential::kApprox) {
    return exp2_approx(x);
  } else {
    return exp2f(x);
  }
}

// 2^(scale * (score - row_max)), as exp2_from_max.
template <class Traits>
__device__ __forceinline__ float exponential2_from_max(float score, float row_max, float softmax_scale_log2) {
  return exponential2<Traits>((score - row_max) * softmax_scale_log2);
}

}  // namespace evoflash::wmma
#endif
