#pragma once

// The element types of tensors: Half, Bfloat16 and float; their conversion from and to float, and vector loads and
// stores. The 16-bit types are plain bits, converted by instructions: cuda_fp16.h and cuda_bf16.h would take a quarter
// of a kernel's build time. They are enumerations rather than structs because compilers move scalars better.
namespace evoflash {

enum class Half : unsigned short {};
enum class Bfloat16 : unsigned short {};

#ifndef EVOFLASH_HOST_ONLY
// An element's bits.
template <class Element>
__device__ __forceinline__ unsigned short bits_of(Element element) {
  return static_cast<unsigned short>(element);
}

__device__ __forceinline__ float to_float(float element) { return element; }

__device__ __forceinline__ float to_float(Half element) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits_of(element)));
  return value;
}

// A bfloat16 is the upper half of a float.
__device__ __forceinline__ float to_float(Bfloat16 element) {
  return __uint_as_float(unsigned(bits_of(element)) << 16);
}

// Rounds to the nearest element, ties to even.
template <class Element>
__device__ __forceinline__ Element from_float(float value);

template <>
__device__ __forceinline__ float from_float<float>(float value) {
  return value;
}

template <>
__device__ __forceinline__ Half from_float<Half>(float value) {
  unsigned short bits;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return Half{bits};
}

template <>
__device__ __forceinline__ Bfloat16 from_float<Bfloat16>(float value) {
#if __CUDA_ARCH__ >= 800
  unsigned short bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(value));
  return Bfloat16{bits};
#else
  const unsigned bits = __float_as_uint(value);
  if (value != value) return static_cast<Bfloat16>(bits >> 16 | 0x40);  // rounding could make a NaN infinite
  return static_cast<Bfloat16>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
#endif
}

// kCount consecutive elements. Its alignment makes a copy one instruction, up to 16 bytes.
template <class Element, int kCount>
struct alignas(kCount * sizeof(Element)) Elements {
  Element at[kCount];
};

template <int kCount, class Element>
__device__ __forceinline__ Elements<Element, kCount> load(const Element *source) {
  return *reinterpret_cast<const Elements<Element, kCount> *>(source);
}

template <int kCount, class Element>
__device__ __forceinline__ void store(Element *target, const float (&values)[kCount]) {
  Elements<Element, kCount> elements;
#pragma unroll
  for (int i = 0; i < kCount; ++i) elements.at[i] = from_float<Element>(values[i]);
  *reinterpret_cast<Elements<Element, kCount> *>(target) = elements;
}
#endif

}  // namespace evoflash
