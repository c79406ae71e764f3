#pragma once

// Vectors of 32-bit lanes, as wide as the processor has them, by GCC's vector extensions.
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

// Functions of a few instructions, members, and lambdas (the last goes behind a lambda's parameters).
#define EVOFLASH_INLINE static inline __attribute__((always_inline))
#define EVOFLASH_INLINE_MEMBER inline __attribute__((always_inline))
#define EVOFLASH_INLINE_LAMBDA __attribute__((always_inline))

namespace evoflash {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kLanes = kVectorBytes / 4;

typedef float Floats __attribute__((vector_size(kVectorBytes)));
typedef int32_t Ints __attribute__((vector_size(kVectorBytes)));
typedef uint32_t Bits __attribute__((vector_size(kVectorBytes)));
typedef uint16_t Halves __attribute__((vector_size(kVectorBytes / 2)));  // kLanes 16-bit elements
typedef uint8_t Bytes __attribute__((vector_size(kVectorBytes / 4)));    // kLanes 8-bit elements

// Loads and stores of whole vectors: memcpy asks for no alignment, may alias, and compiles to one instruction.
template <class Vector, class From>
EVOFLASH_INLINE Vector load(const From *from) {
  Vector vector;
  memcpy(&vector, from, sizeof vector);
  return vector;
}
template <class Vector, class To>
EVOFLASH_INLINE void store(To *to, Vector vector) {
  memcpy(to, &vector, sizeof vector);
}

// The first `count` elements, up to the vector's length, then zeros; never reads beyond them.
template <class Vector, class Element>
EVOFLASH_INLINE Vector load_part(const Element *from, int count) {
  if (count >= int(sizeof(Vector) / sizeof(Element))) return load<Vector>(from);
  Vector padded = {};
  memcpy(&padded, from, count * sizeof(Element));
  return padded;
}

EVOFLASH_INLINE Floats all(float value) { return value - Floats{}; }
EVOFLASH_INLINE Floats as_floats(Bits bits) { return reinterpret_cast<Floats>(bits); }
EVOFLASH_INLINE Bits as_bits(Floats floats) { return reinterpret_cast<Bits>(floats); }
EVOFLASH_INLINE Bits select(Ints where, Bits yes, Bits no) {
  return (reinterpret_cast<Bits>(where) & yes) | (~reinterpret_cast<Bits>(where) & no);
}

// The larger of two; a NaN on the right comes through, one on the left does not.
EVOFLASH_INLINE Floats larger(Floats left, Floats right) {
#if defined(__AVX512F__)
  return (Floats)_mm512_max_ps((__m512)left, (__m512)right);
#elif defined(__AVX2__)
  return (Floats)_mm256_max_ps((__m256)left, (__m256)right);
#else
  return left > right ? left : right;
#endif
}

// EVOFLASH_SHUFFLE(type, a, b, lanes...): the lanes of a, then b, by number. GCC has clang's builtin from 12 on.
#ifdef __clang__
#define EVOFLASH_SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define EVOFLASH_SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, type{__VA_ARGS__})
#endif

// Lane l of the result is lane l ^ kDistance: the step of a reduction tree whose result lands in every lane.
template <int kDistance, int... kLane>
EVOFLASH_INLINE Floats swap_lanes(Floats floats, std::integer_sequence<int, kLane...>) {
  return EVOFLASH_SHUFFLE(Ints, floats, floats, (kLane ^ kDistance)...);
}
template <int kDistance = kLanes / 2>
EVOFLASH_INLINE float largest_lane(Floats floats) {
  floats = larger(floats, swap_lanes<kDistance>(floats, std::make_integer_sequence<int, kLanes>()));
  if constexpr (kDistance > 1) return largest_lane<kDistance / 2>(floats);
  return floats[0];
}
template <int kDistance = kLanes / 2>
EVOFLASH_INLINE float sum_lanes(Floats floats) {
  floats += swap_lanes<kDistance>(floats, std::make_integer_sequence<int, kLanes>());
  if constexpr (kDistance > 1) return sum_lanes<kDistance / 2>(floats);
  return floats[0];
}

template <int... kLane>
EVOFLASH_INLINE Ints lane_numbers(std::integer_sequence<int, kLane...>) {
  return Ints{kLane...};
}
// All ones in the first `count` lanes.
EVOFLASH_INLINE Ints first_lanes(int count) { return lane_numbers(std::make_integer_sequence<int, kLanes>()) < count; }

// Transposes kLanes vectors of kLanes 32-bit units in place: log2(kLanes) rounds of exchanges of rows i and i + kStep.
template <int kStep, int... kLane>
EVOFLASH_INLINE void exchange(Bits &upper, Bits &lower, std::integer_sequence<int, kLane...>) {
  const Bits a = upper, b = lower;
  upper = EVOFLASH_SHUFFLE(Bits, a, b, uint32_t(kLane & kStep ? kLanes + kLane - kStep : kLane)...);
  lower = EVOFLASH_SHUFFLE(Bits, a, b, uint32_t(kLane & kStep ? kLanes + kLane : kLane + kStep)...);
}
template <int kStep = kLanes / 2>
EVOFLASH_INLINE void transpose(Bits (&rows)[kLanes]) {
#pragma GCC unroll 16
  for (int row = 0; row < kLanes; ++row)
    if (!(row & kStep)) exchange<kStep>(rows[row], rows[row + kStep], std::make_integer_sequence<int, kLanes>());
  if constexpr (kStep > 1) transpose<kStep / 2>(rows);
}

// x rounded to the nearest integer, and p * 2^n for such an n (the portable way takes any n below -126 for -126).
EVOFLASH_INLINE Floats nearest_integer(Floats x) {
#if defined(__AVX512F__)
  return (Floats)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  return (x + 0x1.8p23f) - 0x1.8p23f;
#endif
}
EVOFLASH_INLINE Floats times_power_of_two(Floats p, Floats n) {
#if defined(__AVX512F__)
  return (Floats)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const Ints exponent = __builtin_convertvector(larger(all(-126.0f), n), Ints) + 127;
  return p * as_floats((Bits)exponent << 23);
#endif
}

}  // namespace evoflash
