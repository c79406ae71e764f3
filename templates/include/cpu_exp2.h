#pragma once

// 2^x for vectors.
#include "cpu_vector.h"

namespace evoflash {

// How 2^n is multiplied by: an addition to the exponent's bits, or AVX-512's scalef.
enum class ExpScaling { kBits, kScalef };

// 2^x for |x| <= 1/2 as 1 + c[0] x + c[1] x^2 + ...: exact at 0, with a relative error of at most kError elsewhere.
template <int kDegree>
struct Exp2Polynomial;

template <>
struct Exp2Polynomial<2> {
  static constexpr double kError = 2.0e-3;
  static constexpr float kCoefficients[] = {0.702941813f, 0.239864036f};
};

template <>
struct Exp2Polynomial<3> {
  static constexpr double kError = 1.0e-4;
  static constexpr float kCoefficients[] = {0.693282927f, 0.242210962f, 0.0550089314f};
};

template <>
struct Exp2Polynomial<4> {
  static constexpr double kError = 2.8e-6;
  static constexpr float kCoefficients[] = {0.693124193f, 0.240240986f, 0.055906425f, 0.00958285317f};
};

template <>
struct Exp2Polynomial<5> {
  static constexpr double kError = 1.1e-7;
  static constexpr float kCoefficients[] = {0.693146978f, 0.240222421f, 0.0555073374f, 0.00967151269f, 0.00132647272f};
};

template <>
struct Exp2Polynomial<6> {
  static constexpr double kError = 1.6e-8;
  static constexpr float kCoefficients[] = {0.693147203f,   0.240226479f,   0.0555033247f,
                                            0.00961843736f, 0.00133988745f, 0.00015353362f};
};

// Horner's scheme from the coefficient kFrom downwards.
template <int kDegree, int kFrom = kDegree - 2>
EVOFLASH_INLINE Floats evaluate(Floats higher, Floats x) {
  if constexpr (kFrom < 0) {
    return higher * x + 1.0f;
  } else {
    constexpr float kCoefficient = Exp2Polynomial<kDegree>::kCoefficients[kFrom];
    return evaluate<kDegree, kFrom - 1>(higher * x + kCoefficient, x);
  }
}

// 2^x for x <= 0 (or just above, by a rounding): 2^n times a polynomial for 2^(x - n). A NaN stays one.
template <int kDegree, ExpScaling kScaling>
EVOFLASH_INLINE Floats exp2_polynomial(Floats x) {
  constexpr float kLeading = Exp2Polynomial<kDegree>::kCoefficients[kDegree - 1];
  if constexpr (kScaling == ExpScaling::kScalef) {
    const Floats n = nearest_integer(x);
    const Floats fraction = x - n;
    return times_power_of_two(evaluate<kDegree>(all(kLeading), fraction), n);
  } else {
    // Adding 1.5 * 2^23 rounds to an integer, which is then found in the low bits: they are added to the exponent.
    constexpr float kRound = 0x1.8p23f;
    x = larger(all(-126.0f), x);
    const Floats shifted = x + kRound;
    const Floats fraction = x - (shifted - kRound);
    const Floats result = evaluate<kDegree>(all(kLeading), fraction);
    return as_floats(as_bits(result) + (as_bits(shifted) << 23));
  }
}

}  // namespace evoflash
