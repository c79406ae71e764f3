#pragma once

#include "numeric_types.cuh"

// Emulated: the numbers by their definition.
namespace evoflash {

enum class Float8 : unsigned char {};

#ifndef EVOFLASH_HOST_ONLY
inline float to_float(Float8 element) {
  const int bits = int(element), exponent = bits >> 3 & 15, mantissa = bits & 7;
  const float sign = bits & 0x80 ? -1.0f : 1.0f;
  if (exponent == 15 && mantissa == 7) return NAN;
  return sign * (exponent == 0 ? ldexpf(mantissa, -9) : ldexpf(8 + mantissa, exponent - 10));
}

template <class Element>
inline unsigned widen(unsigned bytes) {
  return unsigned(from_float<Element>(to_float(static_cast<Float8>(bytes)))) |
         unsigned(from_float<Element>(to_float(static_cast<Float8>(bytes >> 8)))) << 16;
}
#endif

}  // namespace evoflash
