#pragma once

// The element types of tensors: Half, Bfloat16 and float, and vectors of them to and from float. The 16-bit types are
// plain bits.
#include <type_traits>

#include "cpu_vector.h"

namespace evoflash {

enum class Half : uint16_t {};
enum class Bfloat16 : uint16_t {};

// float8_e4m3fn, of keys and values that are quantised: a sign, four bits of exponent, whose bias is 7, and three of
// mantissa. There is no infinity, and the largest magnitude of the bits is NaN.
enum class Float8 : uint8_t {};

// kLanes elements.
template <class Element>
using VectorOf = std::conditional_t<std::is_same_v<Element, float>, Floats, Halves>;

EVOFLASH_INLINE Floats from_float16(Halves halves) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtph_ps((__m256i)halves);
#elif defined(__AVX2__) && defined(__F16C__)
  return (Floats)_mm256_cvtph_ps((__m128i)halves);
#else
  // Exponent and mantissa moved into place and multiplied by 2^112 give normal and subnormal values alike.
  const Bits wide = __builtin_convertvector(halves, Bits);
  const Bits magnitude = (wide & 0x7fff) << 13;
  Bits result = as_bits(as_floats(magnitude) * 0x1p112f);
  result |= (Bits)(magnitude >= 0x7c00u << 13) & 0x7f800000;  // Inf and NaN
  return as_floats(result | (wide & 0x8000) << 16);
#endif
}

EVOFLASH_INLINE Halves to_float16(Floats floats) {
#if defined(__AVX512F__)
  return (Halves)_mm512_cvtps_ph((__m512)floats, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__) && defined(__F16C__)
  return (Halves)_mm256_cvtps_ph((__m256)floats, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const Bits sign = as_bits(floats) & 0x80000000, magnitude = as_bits(floats) ^ sign;
  // Subnormal results: adding 0.5 lets the addition itself round at the right bit. Normal ones: to even by hand.
  const Bits subnormal = as_bits(as_floats(magnitude) + 0.5f) - 0x3f000000;
  const Bits normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  Bits result = select((Ints)(magnitude < 0x38800000), subnormal, normal);
  result = select((Ints)(magnitude >= 0x47800000), Bits{} + 0x7c00, result);
  result = select((Ints)(magnitude > 0x7f800000), Bits{} + 0x7e00, result);
  return __builtin_convertvector(result | sign >> 16, Halves);
#endif
}

EVOFLASH_INLINE Floats from_bfloat16(Halves halves) { return as_floats(__builtin_convertvector(halves, Bits) << 16); }

EVOFLASH_INLINE Halves to_bfloat16(Floats floats) {
#if defined(__AVX512BF16__)
  return (Halves)_mm512_cvtneps_pbh((__m512)floats);
#else
  const Bits bits = as_bits(floats);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits quiet = bits >> 16 | 0x40;  // rounding could carry a NaN into Inf
  return __builtin_convertvector(select((Ints)(floats != floats), quiet, rounded), Halves);
#endif
}

template <class Element>
EVOFLASH_INLINE Floats to_floats(VectorOf<Element> elements) {
  if constexpr (std::is_same_v<Element, Half>)
    return from_float16(elements);
  else if constexpr (std::is_same_v<Element, Bfloat16>)
    return from_bfloat16(elements);
  else
    return elements;
}

EVOFLASH_INLINE Floats from_float8(Bytes bytes) {
  // Exponent and mantissa moved into place and multiplied by 2^120 give normal and subnormal values alike.
  const Bits wide = __builtin_convertvector(bytes, Bits);
  const Bits magnitude = wide & 0x7f, sign = (wide & 0x80) << 24;
  const Bits number = as_bits(as_floats(magnitude << 20) * 0x1p120f);
  return as_floats(select((Ints)(magnitude == 0x7f), as_bits(all(NAN)), number | sign));
}

// Rounds to the nearest element, ties to even.
template <class Element>
EVOFLASH_INLINE VectorOf<Element> from_floats(Floats floats) {
  if constexpr (std::is_same_v<Element, Half>)
    return to_float16(floats);
  else if constexpr (std::is_same_v<Element, Bfloat16>)
    return to_bfloat16(floats);
  else
    return floats;
}

}  // namespace evoflash
