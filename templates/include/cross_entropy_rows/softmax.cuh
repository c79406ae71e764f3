#pragma once

#include "math.cuh"
#include "warp.cuh"

// The maximum of some logits, and the sum of exponentials of their differences to it.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::cross_entropy_rows {

// exp(difference), of a difference to a maximum. That of -inf is 0.
__device__ __forceinline__ float exp_difference(float difference) { return exp2_approx(difference * kLog2E); }

struct Softmax {
  float max = -INFINITY, sum = 0;

  // What logits are compared with: no difference is -inf less -inf. A NaN may get lost in a maximum, but not in its own
  // exponential, and so not in the sum.
  __device__ __forceinline__ float base() const { return max == -INFINITY ? 0 : max; }

  template <int kCount>
  __device__ __forceinline__ void add(const float (&logits)[kCount]) {
    const float old_max = max;
#pragma unroll
    for (int i = 0; i < kCount; ++i) max = fmaxf(max, logits[i]);
    const float from = base();
    sum *= exp_difference(old_max - from);
    float even = 0, odd = 0;  // two chains of additions
#pragma unroll
    for (int i = 0; i < kCount; ++i) (i % 2 ? odd : even) += exp_difference(logits[i] - from);
    sum += even + odd;
  }

  __device__ __forceinline__ void add(Softmax other) {
    const float old_max = max;
    max = fmaxf(max, other.max);
    sum = sum * exp_difference(old_max - base()) + other.sum * exp_difference(other.max - base());
  }

  // Over so many neighbouring lanes, each of which gets the result.
  template <int kLanes>
  __device__ __forceinline__ void reduce() {
    const float own_max = max;
    max = warp_reduce_max<kLanes>(max);
    sum = warp_reduce_sum<kLanes>(sum * exp_difference(own_max - base()));
  }
};

}  // namespace evoflash::cross_entropy_rows
#endif
