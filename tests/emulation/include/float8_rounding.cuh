#pragma once

// Emulated: the nearest of all 256 numbers, of two equally near ones the even one.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline float float8_value(unsigned bits) {
  const int exponent = int(bits >> 3 & 15), mantissa = int(bits & 7);
  const float magnitude = exponent == 0 ? ldexpf(float(mantissa), -9) : ldexpf(float(8 + mantissa), exponent - 10);
  return bits & 0x80 ? -magnitude : magnitude;
}

inline unsigned round_float8(float value) {
  if (value != value) return 0x7f;
  const unsigned sign = signbit(value) ? 0x80 : 0;
  unsigned nearest = 0;
  for (unsigned bits = 1; bits < 0x7f; ++bits) {
    const float distance = fabsf(fabsf(value) - float8_value(bits)), best = fabsf(fabsf(value) - float8_value(nearest));
    if (distance < best || (distance == best && bits % 2 == 0)) nearest = bits;
  }
  return sign | nearest;
}

inline unsigned pack_float8(float low, float high) { return round_float8(high) << 8 | round_float8(low); }

}  // namespace evoflash
#endif
