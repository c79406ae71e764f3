#pragma once

#include "cpu_exp2.h"
#include "linear/activations.h"
#include "log2e.h"

namespace evoflash::cpu_linear {

using linear::Activation;

// 2^x for x <= 0, to the last bit of a float but one; 0 below 2^-126.
EVOFLASH_INLINE Floats exp2_negative(Floats x) {
  return as_floats(as_bits(exp2_polynomial<6, ExpScaling::kBits>(x)) & (Bits)(x >= -126.0f));
}

// x Phi(x), Phi being the normal distribution: the GELU by erf, not its approximation by tanh.
//
// With a = |x| it is max(x, 0) - a (1 - Phi(a)), and 1 - Phi(a) = erfc(a / sqrt(2)) / 2 is a polynomial in t times
// exp(-a^2 / 2), with t = 1 / (1 + p a / sqrt(2)) (Abramowitz and Stegun, 7.1.26; its error is at most 0.75e-7). It is
// nothing from 16 on, where a of positive x ends: infinity stays infinite, and its negative becomes NaN, as by the
// formula.
EVOFLASH_INLINE Floats gelu(Floats x) {
  constexpr float kHalfLog2E = 0.72134752f;
  const Floats a = larger(-x, -larger(all(-16.0f), -x));
  const Floats t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * a);
  Floats upper = t * (0.5f * 1.061405429f) + 0.5f * -1.453152027f;
  upper = upper * t + 0.5f * 1.421413741f;
  upper = upper * t + 0.5f * -0.284496736f;
  upper = upper * t + 0.5f * 0.254829592f;
  upper *= t * exp2_negative(a * a * -kHalfLog2E);
  return larger(all(0.0f), x) - a * upper;
}

// x / (1 + exp(-x)), by the exponential of a number that is not positive.
EVOFLASH_INLINE Floats silu(Floats x) {
  const Floats e = exp2_negative(as_floats(as_bits(x) | 0x80000000) * kLog2E);
  return x * as_floats(select(x < 0, as_bits(e), as_bits(all(1.0f)))) / (1.0f + e);
}

// A NaN stays as it is: exp2_negative takes the low bits of its argument for an exponent.
template <Activation kActivation>
EVOFLASH_INLINE Floats activate(Floats x) {
  Floats result = x;
  if constexpr (kActivation == Activation::kRelu) result = larger(all(0.0f), x);
  if constexpr (kActivation == Activation::kGelu) result = gelu(x);
  if constexpr (kActivation == Activation::kSilu) result = silu(x);
  return as_floats(select(x != x, as_bits(x), as_bits(result)));
}

}  // namespace evoflash::cpu_linear
