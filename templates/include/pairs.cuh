#pragma once

#include "numeric_types.cuh"

// Pairs of 16-bit elements in a 32-bit word, the first in the lower half, as fragments and memory hold them.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Two floats, each rounded to Element.
template <class Element>
__device__ __forceinline__ unsigned pack(float low, float high);

template <>
__device__ __forceinline__ unsigned pack<Half>(float low, float high) {
#if __CUDA_ARCH__ >= 800
  unsigned word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  const unsigned first = bits_of(from_float<Half>(low)), second = bits_of(from_float<Half>(high));
  return second << 16 | first;
#endif
}

// sm_80.
template <>
__device__ __forceinline__ unsigned pack<Bfloat16>(float low, float high) {
  unsigned word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

template <class Element>
__device__ __forceinline__ float low_to_float(unsigned word) {
  return to_float(static_cast<Element>(word));
}

template <class Element>
__device__ __forceinline__ float high_to_float(unsigned word) {
  return to_float(static_cast<Element>(word >> 16));
}

// Rounds eight floats to Element, and stores them together: 16 bytes.
template <class Element>
__device__ __forceinline__ void store_8(void *target, const float (&values)[8]) {
  *static_cast<uint4 *>(target) = make_uint4(pack<Element>(values[0], values[1]), pack<Element>(values[2], values[3]),
                                             pack<Element>(values[4], values[5]), pack<Element>(values[6], values[7]));
}

}  // namespace evoflash
#endif
