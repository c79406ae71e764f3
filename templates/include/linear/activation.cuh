#pragma once

#include "linear/activations.h"
#include "math.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear {

// x Phi(x), Phi being the normal distribution: the GELU by erf, not its approximation by tanh.
//
// With a = |x| it is max(x, 0) - a (1 - Phi(a)), and 1 - Phi(a) = erfc(a / sqrt(2)) / 2 is a polynomial in t times
// exp(-a^2 / 2), with t = 1 / (1 + p a / sqrt(2)) (Abramowitz and Stegun, 7.1.26; its error is at most 0.75e-7). It is
// zero from 16 on, where a of positive x ends: infinity stays infinite, and its negative becomes NaN, as by the
// formula.
__device__ __forceinline__ float gelu(float x) {
  constexpr float kHalfLog2E = 0.72134752f;
  const float a = max_nan(-x, min_nan(x, 16.0f));
  const float t = reciprocal(fmaf(0.3275911f * 0.70710678f, a, 1.0f));
  float upper = fmaf(t, 0.5f * 1.061405429f, 0.5f * -1.453152027f);
  upper = fmaf(t, upper, 0.5f * 1.421413741f);
  upper = fmaf(t, upper, 0.5f * -0.284496736f);
  upper = fmaf(t, upper, 0.5f * 0.254829592f);
  upper *= t * exp2_approx(a * a * -kHalfLog2E);
  return fmaf(-a, upper, max_nan(x, 0.0f));
}

// x / (1 + exp(-x)).
__device__ __forceinline__ float silu(float x) { return x * reciprocal(1.0f + exp2_approx(x * -kLog2E)); }

template <Activation kActivation>
__device__ __forceinline__ float activate(float x) {
  if constexpr (kActivation == Activation::kRelu) {
    return max_nan(x, 0.0f);
  } else if constexpr (kActivation == Activation::kGelu) {
    return gelu(x);
  } else if constexpr (kActivation == Activation::kSilu) {
    return silu(x);
  } else {
    return x;
  }
}

}  // namespace evoflash::linear
#endif
