#pragma once

#include "math.cuh"
#include "numeric_types.cuh"
#include "scalar/kernel_traits.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::scalar {

// A lane's share of q . k: every kLanesPerKey-th vector, from `lane` on. There is a sum for each element of a vector,
// so that the additions do not wait for one another.
template <class Traits, class Element = typename Traits::Element>
__device__ __forceinline__ float dot(const float *q, const Element *k, int lane) {
  constexpr int kVector = Traits::kVector;
  float sums[kVector] = {};
#pragma unroll(Traits::kUnroll)
  for (int vector = lane; vector < Traits::kRowVectors; vector += Traits::kLanesPerKey) {
    const Elements<Element, kVector> elements = load<kVector>(k + vector * kVector);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sums[i] = fmaf(q[vector * kVector + i], to_float(elements.at[i]), sums[i]);
  }
#pragma unroll
  for (int half = kVector / 2; half > 0; half /= 2)
#pragma unroll
    for (int i = 0; i < half; ++i) sums[i] += sums[i + half];
  return sums[0];
}

// What scores are multiplied by before exponential().
template <class Traits>
__device__ __forceinline__ float softmax_scale(float scale) {
  return Traits::kExponential == Exponential::kApprox ? scale * kLog2E : scale;
}

// e^x, or 2^x where log2(e) is part of the softmax scale.
template <class Traits>
__device__ __forceinline__ float exponential(float x) {
  if constexpr (Traits::kExponential == Exponential::kApprox) {
    return exp2_approx(x);
  } else {
    return expf(x);
  }
}

}  // namespace evoflash::scalar
#endif
