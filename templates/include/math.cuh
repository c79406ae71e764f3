#pragma once

#include "log2e.h"

// Arithmetic by single instructions: exponentials to the base 2, reciprocals, and maxima that keep a NaN.
namespace evoflash {

#ifndef EVOFLASH_HOST_ONLY
// 2^x by one instruction. Subnormal results become zero, 2^-inf is 0, and NaN stays NaN. exp2f would take three more
// instructions for results below 2^-126, which make no difference to a softmax.
__device__ __forceinline__ float exp2_approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// 2^x without the special function unit, which computes 16 results a clock where the multipliers compute 128. x is
// split into n + f with f in [-1/2, 1/2]: 2^f is a cubic polynomial (relative error 7.5e-5, a sixth of Half's
// rounding), and n is added to the exponent. For x <= 10. Results below 2^-127 are 0. NaN stays NaN: it survives in the
// polynomial, and no integer arithmetic touches that.
__device__ __forceinline__ float exp2_polynomial(float x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits
  float clamped;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(clamped) : "f"(x), "f"(-127.0f));  // fmaxf would drop a NaN
  const float rounded = clamped + kRound;
  const float f = clamped - (rounded - kRound);
  const float cubic = fmaf(fmaf(fmaf(0.05517167f, f, 0.24261112f), f, 0.69326099f), f, 0.99992807f);
  return cubic * __uint_as_float((__float_as_uint(rounded) << 23) + 0x3f800000u);  // 2^n; 0 for n = -127
}

// 1 / x by one instruction. 1 / 0 is infinite, and NaN stays NaN.
__device__ __forceinline__ float reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// The larger and the smaller of two numbers, or NaN if one of them is NaN (sm_80). fmaxf and fminf would drop it.
__device__ __forceinline__ float max_nan(float x, float y) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(x), "f"(y));
  return result;
}
__device__ __forceinline__ float min_nan(float x, float y) {
  float result;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(x), "f"(y));
  return result;
}
#endif

}  // namespace evoflash
