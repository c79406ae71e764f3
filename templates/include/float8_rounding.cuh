#pragma once

// Rounding to float8_e4m3fn by one instruction (sm_89).
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Two floats, each rounded to the nearest number, ties to even, the first in the lower byte. What exceeds 448 becomes
// 448, and NaN stays NaN.
__device__ __forceinline__ unsigned pack_float8(float low, float high) {
  unsigned short pair;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(pair) : "f"(high), "f"(low));
  return pair;
}

}  // namespace evoflash
#endif
