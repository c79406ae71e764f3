#pragma once

#include "numeric_types.cuh"
#include "pairs.cuh"

// Keys and values of 8 bits, float8_e4m3fn: a sign, four bits of exponent, whose bias is 7, and three of mantissa.
// There is no infinity, and the largest magnitude of the bits is NaN. Half and Bfloat16 have all of them exactly.
namespace evoflash {

enum class Float8 : unsigned char {};

#ifndef EVOFLASH_HOST_ONLY
// The bits moved to those of a float, whose exponent has a bias that is 120 larger: a product by 2^120 gives normal and
// subnormal numbers alike.
__device__ __forceinline__ float to_float(Float8 element) {
  const unsigned bits = static_cast<unsigned>(element), magnitude = bits & 0x7f;
  if (magnitude == 0x7f) return __uint_as_float(0x7fffffff);  // NaN
  return __uint_as_float((bits & 0x80) << 24 | magnitude << 20) * 0x1p120f;
}

// The two numbers in the lower half of a word, the first in the lowest byte, as a pair of 16 bits each.
template <class Element>
__device__ __forceinline__ unsigned widen(unsigned bytes);

template <>
__device__ __forceinline__ unsigned widen<Half>(unsigned bytes) {
#if __CUDA_ARCH__ >= 890
  unsigned pair;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(pair) : "h"(static_cast<unsigned short>(bytes)));
  return pair;
#else
  return pack<Half>(to_float(static_cast<Float8>(bytes)), to_float(static_cast<Float8>(bytes >> 8)));
#endif
}

template <>
__device__ __forceinline__ unsigned widen<Bfloat16>(unsigned bytes) {
  const unsigned halves = widen<Half>(bytes);
  return pack<Bfloat16>(low_to_float<Half>(halves), high_to_float<Half>(halves));
}
#endif

}  // namespace evoflash
