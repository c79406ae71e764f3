#pragma once

#include "score_features.h"
#include "math.cuh"
#include "numeric_types.cuh"
#include "scalar/kernel_traits.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::scalar {

// A lane's share of q . k: every kLanesPerKey-th vector, from `lane` on. There is a sum for each element of a vector,
// so that the additions do not wait for one another.
template <class Traits>
__device__ __forceinline__ float dot(const float *q, const typename Traits::KvElement *k, int lane) {
  using Element = typename Traits::KvElement;
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
__device__ __forceinline__ constexpr float log2_scale() {
  return Traits::kExponential == Exponential::kApprox ? kLog2E : 1.0f;
}

// What products are multiplied by to be scores; and, where these are not changed any more, by log2_scale(). The scale
// of quantised keys is a part of it.
template <class Traits>
__device__ __forceinline__ float softmax_scale(const AttentionProblem &problem, int kv_head) {
  float scale = problem.scale;
  if constexpr (Traits::kIsQuantized) scale *= problem.k_scales[kv_head];
  return kHasScoreTerms<Traits> ? scale : scale * log2_scale<Traits>();
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

// What a row's sum of p v is multiplied by, given the sum of its p.
template <class Traits>
__device__ __forceinline__ float output_scale(const AttentionProblem &problem, int bidh, float row_max, float row_sum) {
  if constexpr (Traits::kHasSinks) {
    const float sink = problem.sinks[bidh] * log2_scale<Traits>();
    const float new_max = fmaxf(row_max, sink);
    const float scores_scale = exponential<Traits>(row_max - new_max);
    return scores_scale / (row_sum * scores_scale + exponential<Traits>(sink - new_max));
  } else if constexpr (kHasBlindRows<Traits>) {
    return row_sum == 0 ? 0.0f : 1 / row_sum;  // of a row that sees no key
  } else {
    return 1 / row_sum;
  }
}

// The log-sum-exp of a row, given the sum of its p.
template <class Traits>
__device__ __forceinline__ float log_sum_exp(const AttentionProblem &problem, int bidh, float row_max, float row_sum) {
  float maximum = row_max, sum = row_sum;
  if constexpr (Traits::kHasSinks) {
    const float sink = problem.sinks[bidh] * log2_scale<Traits>();
    maximum = fmaxf(row_max, sink);
    sum = row_sum * exponential<Traits>(row_max - maximum) + exponential<Traits>(sink - maximum);
  }
  // The sum of a row whose scores are all -inf is 0, but its maximum is not to be added to anything.
  if (maximum == -INFINITY) return sum == 0 ? -INFINITY : sum;  // or NaN
  return (Traits::kExponential == Exponential::kApprox ? maximum * kLn2 : maximum) + logf(sum);
}

}  // namespace evoflash::scalar
#endif
