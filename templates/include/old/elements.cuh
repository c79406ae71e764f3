/* The tensors' elements ({{ problem.dtype }}) and what is done with them one by one: conversion and vector moves.
 * Halves are kept as bits, and converted by instructions: that saves the headers, a quarter of the build time. */
namespace evoflash {

{% if problem.dtype == "float32" %}
using Element = float;

__device__ __forceinline__ float to_float(Element element) { return element; }
__device__ __forceinline__ Element to_element(float value) { return value; }
{% elif problem.dtype == "float16" %}
using Element = unsigned short;

__device__ __forceinline__ float to_float(Element element) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(element));
  return value;
}
__device__ __forceinline__ Element to_element(float value) {
  Element element;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(element) : "f"(value));
  return element;
}
{% else %}
using Element = unsigned short;

__device__ __forceinline__ float to_float(Element element) { return __uint_as_float(unsigned(element) << 16); }
__device__ __forceinline__ Element to_element(float value) {
{% if device.arch >= 80 %}
  Element element;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(element) : "f"(value));
  return element;
{% else %}
  const unsigned bits = __float_as_uint(value);
  if (value != value) return Element(bits >> 16 | 0x40); /* a NaN stays one: rounding could carry it to infinity */
  return Element((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  /* to nearest, ties to even */
{% endif %}
}
{% endif %}

/* kCount neighbouring elements; its alignment makes a copy one instruction (up to 16 bytes). */
template <int kCount>
struct alignas(kCount * sizeof(Element)) Elements {
  Element at[kCount];
};

template <int kCount>
__device__ __forceinline__ Elements<kCount> load(const Element *source) {
  return *reinterpret_cast<const Elements<kCount> *>(source);
}

template <int kCount>
__device__ __forceinline__ void store(Element *target, const float (&values)[kCount]) {
  Elements<kCount> elements;
#pragma unroll
  for (int i = 0; i < kCount; ++i) elements.at[i] = to_element(values[i]);
  *reinterpret_cast<Elements<kCount> *>(target) = elements;
}

}  // namespace evoflash
