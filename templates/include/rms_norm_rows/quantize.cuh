#pragma once

#include "float8_rounding.cuh"
#include "packed.cuh"
#include "rms_norm_rows/arguments.cuh"

// Floats to 8 bits: int8, or float8_e4m3fn (sm_89).
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::rms_norm_rows {

constexpr float kSmallestMagnitude = 1e-10f;  // that a row is scaled by

template <Quantize kQuantize>
constexpr float kLargest = kQuantize == Quantize::kInt8 ? 127.0f : 448.0f;  // magnitude of the type

// Two numbers, the first in the lower byte, rounded to the nearest, ties to even. As int8 a NaN becomes 0.
template <Quantize kQuantize>
__device__ __forceinline__ unsigned quantize_pair(float low, float high) {
  if constexpr (kQuantize == Quantize::kInt8) {
    return (unsigned(__float2int_rn(high)) & 0xff) << 8 | (unsigned(__float2int_rn(low)) & 0xff);
  } else {
    return pack_float8(low, high);
  }
}

template <Quantize kQuantize, int kCount>
__device__ __forceinline__ Packed<kCount> quantize(const float (&values)[kCount]) {
  Packed<kCount> packed;
  if constexpr (kCount == 1) {
    packed.word[0] = static_cast<unsigned char>(quantize_pair<kQuantize>(values[0], 0));
  } else if constexpr (kCount == 2) {
    packed.word[0] = static_cast<unsigned short>(quantize_pair<kQuantize>(values[0], values[1]));
  } else {
#pragma unroll
    for (int i = 0; i < kCount; i += 4)
      packed.word[i / 4] = quantize_pair<kQuantize>(values[i + 2], values[i + 3]) << 16 |
                           quantize_pair<kQuantize>(values[i], values[i + 1]);
  }
  return packed;
}

}  // namespace evoflash::rms_norm_rows
#endif
