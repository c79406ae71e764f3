/* Vectors of the widest kind that the compiler was told of, by GCC's vector extensions; elements to and from float. */
#include <math.h>
#include <string.h>
#include <utility>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int VECTOR_BYTES = 64;
#elif defined(__AVX2__)
constexpr int VECTOR_BYTES = 32;
#else
constexpr int VECTOR_BYTES = 16;
#endif
constexpr int LANES = VECTOR_BYTES / 4;

typedef float Floats __attribute__((vector_size(VECTOR_BYTES)));
typedef int32_t Ints __attribute__((vector_size(VECTOR_BYTES)));
typedef uint32_t Bits __attribute__((vector_size(VECTOR_BYTES)));
typedef uint16_t Halves __attribute__((vector_size(VECTOR_BYTES / 2))); /* LANES 16-bit elements */

#define INLINE static inline __attribute__((always_inline))

/* Loads and stores of whole vectors: memcpy asks for no alignment, may alias, and compiles to one instruction. */
template <typename Vector, typename From>
INLINE Vector load(const From *from) {
  Vector vector;
  memcpy(&vector, from, sizeof vector);
  return vector;
}
template <typename Vector, typename To>
INLINE void store(To *to, Vector vector) {
  memcpy(to, &vector, sizeof vector);
}

INLINE Floats all(float value) { return value - Floats{}; }
INLINE Floats as_floats(Bits bits) { return reinterpret_cast<Floats>(bits); }
INLINE Bits as_bits(Floats floats) { return reinterpret_cast<Bits>(floats); }
INLINE Bits select(Ints where, Bits yes, Bits no) {
  return (reinterpret_cast<Bits>(where) & yes) | (~reinterpret_cast<Bits>(where) & no);
}

/* The larger of two; a NaN on the right comes through, one on the left does not. */
INLINE Floats larger(Floats left, Floats right) {
#if defined(__AVX512F__)
  return (Floats)_mm512_max_ps((__m512)left, (__m512)right);
#elif defined(__AVX2__)
  return (Floats)_mm256_max_ps((__m256)left, (__m256)right);
#else
  return left > right ? left : right;
#endif
}

/* SHUFFLE(type, a, b, lanes...): the lanes of a, then b, by number. GCC below 12 does not have clang's builtin. */
#ifdef __clang__
#define SHUFFLE(type, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(type, a, b, ...) __builtin_shuffle(a, b, type{__VA_ARGS__})
#endif

/* Lane l of the result is lane l ^ DISTANCE: the step of a reduction tree whose result lands in every lane. */
template <int DISTANCE, int... LANE>
INLINE Floats swap_lanes(Floats floats, std::integer_sequence<int, LANE...>) {
  return SHUFFLE(Ints, floats, floats, (LANE ^ DISTANCE)...);
}
template <int DISTANCE = LANES / 2>
INLINE float largest_lane(Floats floats) {
  floats = larger(floats, swap_lanes<DISTANCE>(floats, std::make_integer_sequence<int, LANES>()));
  if constexpr (DISTANCE > 1) return largest_lane<DISTANCE / 2>(floats);
  return floats[0];
}
template <int DISTANCE = LANES / 2>
INLINE float sum_lanes(Floats floats) {
  floats += swap_lanes<DISTANCE>(floats, std::make_integer_sequence<int, LANES>());
  if constexpr (DISTANCE > 1) return sum_lanes<DISTANCE / 2>(floats);
  return floats[0];
}

template <int... LANE>
INLINE Ints lane_numbers(std::integer_sequence<int, LANE...>) {
  return Ints{LANE...};
}
/* All ones in the first `count` lanes. */
INLINE Ints first_lanes(int count) { return lane_numbers(std::make_integer_sequence<int, LANES>()) < count; }

/* Transposes LANES vectors of LANES 32-bit units in place: log2(LANES) rounds of exchanges of rows i and i + STEP. */
template <int STEP, int... LANE>
INLINE void exchange(Bits &upper, Bits &lower, std::integer_sequence<int, LANE...>) {
  const Bits a = upper, b = lower;
  upper = SHUFFLE(Bits, a, b, uint32_t(LANE & STEP ? LANES + LANE - STEP : LANE)...);
  lower = SHUFFLE(Bits, a, b, uint32_t(LANE & STEP ? LANES + LANE : LANE + STEP)...);
}
template <int STEP = LANES / 2>
INLINE void transpose(Bits (&rows)[LANES]) {
#pragma GCC unroll 16
  for (int row = 0; row < LANES; ++row)
    if (!(row & STEP)) exchange<STEP>(rows[row], rows[row + STEP], std::make_integer_sequence<int, LANES>());
  if constexpr (STEP > 1) transpose<STEP / 2>(rows);
}

INLINE Floats from_float16(Halves halves) {
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtph_ps((__m256i)halves);
#elif defined(__AVX2__) && defined(__F16C__)
  return (Floats)_mm256_cvtph_ps((__m128i)halves);
#else
  /* Exponent and mantissa moved into place and multiplied by 2^112 give normal and subnormal values alike. */
  const Bits wide = __builtin_convertvector(halves, Bits);
  const Bits magnitude = (wide & 0x7fff) << 13;
  Bits result = as_bits(as_floats(magnitude) * 0x1p112f);
  result |= (Bits)(magnitude >= 0x7c00u << 13) & 0x7f800000; /* Inf and NaN */
  return as_floats(result | (wide & 0x8000) << 16);
#endif
}

INLINE Halves to_float16(Floats floats) {
#if defined(__AVX512F__)
  return (Halves)_mm512_cvtps_ph((__m512)floats, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__) && defined(__F16C__)
  return (Halves)_mm256_cvtps_ph((__m256)floats, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const Bits sign = as_bits(floats) & 0x80000000, magnitude = as_bits(floats) ^ sign;
  /* Subnormal results: adding 0.5 lets the addition itself round at the right bit. Normal ones: to even by hand. */
  const Bits subnormal = as_bits(as_floats(magnitude) + 0.5f) - 0x3f000000;
  const Bits normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  Bits result = select((Ints)(magnitude < 0x38800000), subnormal, normal);
  result = select((Ints)(magnitude >= 0x47800000), Bits{} + 0x7c00, result);
  result = select((Ints)(magnitude > 0x7f800000), Bits{} + 0x7e00, result);
  return __builtin_convertvector(result | sign >> 16, Halves);
#endif
}

INLINE Floats from_bfloat16(Halves halves) { return as_floats(__builtin_convertvector(halves, Bits) << 16); }

INLINE Halves to_bfloat16(Floats floats) {
#if defined(__AVX512BF16__)
  return (Halves)_mm512_cvtneps_pbh((__m512)floats);
#else
  const Bits bits = as_bits(floats);
  const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const Bits quiet = bits >> 16 | 0x40; /* rounding could carry a NaN into Inf */
  return __builtin_convertvector(select((Ints)(floats != floats), quiet, rounded), Halves);
#endif
}

/* x rounded to the nearest integer, and p * 2^n for such an n (the portable way takes any n below -126 for -126). */
INLINE Floats nearest_integer(Floats x) {
#if defined(__AVX512F__)
  return (Floats)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  return (x + 0x1.8p23f) - 0x1.8p23f;
#endif
}
INLINE Floats times_power_of_two(Floats p, Floats n) {
#if defined(__AVX512F__)
  return (Floats)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
  const Ints exponent = __builtin_convertvector(larger(all(-126.0f), n), Ints) + 127;
  return p * as_floats((Bits)exponent << 23);
#endif
}
