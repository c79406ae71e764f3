#pragma once

#include "numeric_types.cuh"
#include "pairs.cuh"

// Elements as a thread holds, loads and stores them: up to 16 bytes, packed into words of 32 bits.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <int kBytes>
struct alignas(kBytes) Packed {
  unsigned word[kBytes / 4];
};
template <>
struct Packed<2> {
  unsigned short word[1];
};
template <>
struct Packed<1> {
  unsigned char word[1];
};

template <class Element, int kCount>
using PackedElements = Packed<kCount *int(sizeof(Element))>;

// Widens kCount elements: float, Half or Bfloat16.
template <class Element, int kCount>
__device__ __forceinline__ void unpack(float (&values)[kCount], const PackedElements<Element, kCount> &packed) {
  if constexpr (sizeof(Element) == 4) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = __uint_as_float(packed.word[i]);
  } else if constexpr (kCount == 1) {
    values[0] = to_float(static_cast<Element>(packed.word[0]));
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 2) {
      values[i] = low_to_float<Element>(packed.word[i / 2]);
      values[i + 1] = high_to_float<Element>(packed.word[i / 2]);
    }
  }
}

// Rounds kCount floats to elements, to the nearest, ties to even.
template <class Element, int kCount>
__device__ __forceinline__ PackedElements<Element, kCount> pack_all(const float (&values)[kCount]) {
  PackedElements<Element, kCount> packed;
  if constexpr (sizeof(Element) == 4) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) packed.word[i] = __float_as_uint(values[i]);
  } else if constexpr (kCount == 1) {
    packed.word[0] = bits_of(from_float<Element>(values[0]));
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 2) packed.word[i / 2] = pack<Element>(values[i], values[i + 1]);
  }
  return packed;
}

}  // namespace evoflash
#endif
