/* 2^x without the special function unit, which makes 16 results a clock while the multipliers make 128: x = n + f with f in
 * [-1/2, 1/2], a cubic for 2^f (relative error 7.5e-5, a sixth of a half's rounding) and n into the exponent. For
 * x <= 10; results below 2^-127 are 0, and NaN stays NaN: it survives in the cubic, and no integer arithmetic touches that. */
namespace evoflash {

__device__ __forceinline__ float exp2_polynomial(float x) {
  constexpr float kRound = 12582912.0f; /* 1.5 * 2^23: adding it leaves the nearest integer in the lowest bits */
  float clamped;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(clamped) : "f"(x), "f"(-127.0f)); /* fmaxf would drop a NaN */
  const float rounded = clamped + kRound;
  const float f = clamped - (rounded - kRound);
  const float cubic = fmaf(fmaf(fmaf(0.05517167f, f, 0.24261112f), f, 0.69326099f), f, 0.99992807f);
  return cubic * __uint_as_float((__float_as_uint(rounded) << 23) + 0x3f800000u); /* 2^n; 0 for n = -127 */
}

}  // namespace evoflash
