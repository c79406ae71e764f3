#pragma once

// Emulated: conversions by the host's compiler.
namespace evoflash {

enum class Half : unsigned short {};
enum class Bfloat16 : unsigned short {};

#ifndef EVOFLASH_HOST_ONLY
template <class Element>
inline unsigned short bits_of(Element element) {
  return static_cast<unsigned short>(element);
}

inline float to_float(float element) { return element; }
inline float to_float(Half element) { return float(bits_as<_Float16>(element)); }
inline float to_float(Bfloat16 element) { return __uint_as_float(unsigned(element) << 16); }

template <class Element>
inline Element from_float(float value);
template <>
inline float from_float<float>(float value) {
  return value;
}
template <>
inline Half from_float<Half>(float value) {
  return bits_as<Half>(_Float16(value));
}
template <>
inline Bfloat16 from_float<Bfloat16>(float value) {
  const unsigned bits = __float_as_uint(value);
  if (value != value) return static_cast<Bfloat16>(bits >> 16 | 0x40);
  return static_cast<Bfloat16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

template <class Element, int kCount>
struct alignas(kCount * sizeof(Element)) Elements {
  Element at[kCount];
};

template <int kCount, class Element>
inline Elements<Element, kCount> load(const Element *source) {
  return *reinterpret_cast<const Elements<Element, kCount> *>(source);
}
#endif

}  // namespace evoflash
