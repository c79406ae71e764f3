#pragma once

// Floats to 8 bits: int8, or float8_e4m3fn.
#include "cpu_numeric_types.h"

namespace evoflash::cpu_rms_norm {

enum class Quantize { kNone, kInt8, kFp8 };

constexpr float kSmallestMagnitude = 1e-10f;  // that a row is scaled by

template <Quantize kQuantize>
constexpr float kLargest = kQuantize == Quantize::kInt8 ? 127.0f : 448.0f;  // magnitude of the type

// Rounds to the nearest integer, ties to even. A NaN becomes 0.
EVOFLASH_INLINE Bytes to_int8(Floats floats) {
  return __builtin_convertvector(__builtin_convertvector(nearest_integer(floats), Ints), Bytes);
}

// Rounds to the nearest number, ties to even; to the largest one where that is exceeded by a rounding. All NaNs become
// the positive one, as by CUDA's instruction.
EVOFLASH_INLINE Bytes to_float8(Floats floats) {
  const Bits sign = as_bits(floats) & 0x80000000, magnitude = as_bits(floats) ^ sign;
  // Below 2^-6 numbers are multiples of 2^-9: adding 2^14 lets the addition itself round at the right bit.
  const Bits subnormal = as_bits(as_floats(magnitude) + 0x1p14f) - as_bits(all(0x1p14f));
  const Bits normal = (magnitude - (120u << 23) + 0x7ffff + ((magnitude >> 20) & 1)) >> 20;
  Bits result = select((Ints)(magnitude < 0x3c800000), subnormal, normal);
  result = select((Ints)(magnitude >= 0x43e80000), Bits{} + 0x7e, result);  // from 464 on
  result = select((Ints)(magnitude > 0x7f800000), Bits{} + 0x7f, result | sign >> 24);
  return __builtin_convertvector(result, Bytes);
}

template <Quantize kQuantize>
EVOFLASH_INLINE Bytes quantize(Floats floats) {
  return kQuantize == Quantize::kInt8 ? to_int8(floats) : to_float8(floats);
}

}  // namespace evoflash::cpu_rms_norm
