#pragma once

#include "packed.cuh"

// Loads and stores that tell the caches what will not be needed again (ld.global.cs, st.global.cs): it is the first to
// be evicted.
namespace evoflash {

enum class Caching { kDefault, kStreaming };

#ifndef EVOFLASH_HOST_ONLY
// Volatile, so that no load moves up across the wait for the kernel ahead.
__device__ __forceinline__ void load_streaming(Packed<16> &to, const void *from) {
  asm volatile("ld.global.cs.v4.u32 { %0, %1, %2, %3 }, [%4];"
               : "=r"(to.word[0]), "=r"(to.word[1]), "=r"(to.word[2]), "=r"(to.word[3])
               : "l"(from));
}
__device__ __forceinline__ void load_streaming(Packed<8> &to, const void *from) {
  asm volatile("ld.global.cs.v2.u32 { %0, %1 }, [%2];" : "=r"(to.word[0]), "=r"(to.word[1]) : "l"(from));
}
__device__ __forceinline__ void load_streaming(Packed<4> &to, const void *from) {
  asm volatile("ld.global.cs.u32 %0, [%1];" : "=r"(to.word[0]) : "l"(from));
}
__device__ __forceinline__ void load_streaming(Packed<2> &to, const void *from) {
  asm volatile("ld.global.cs.u16 %0, [%1];" : "=h"(to.word[0]) : "l"(from));
}

__device__ __forceinline__ void store_streaming(void *to, const Packed<16> &from) {
  asm volatile("st.global.cs.v4.u32 [%0], { %1, %2, %3, %4 };" ::"l"(to), "r"(from.word[0]), "r"(from.word[1]),
               "r"(from.word[2]), "r"(from.word[3])
               : "memory");
}
__device__ __forceinline__ void store_streaming(void *to, const Packed<8> &from) {
  asm volatile("st.global.cs.v2.u32 [%0], { %1, %2 };" ::"l"(to), "r"(from.word[0]), "r"(from.word[1]) : "memory");
}
__device__ __forceinline__ void store_streaming(void *to, const Packed<4> &from) {
  asm volatile("st.global.cs.u32 [%0], %1;" ::"l"(to), "r"(from.word[0]) : "memory");
}
__device__ __forceinline__ void store_streaming(void *to, const Packed<2> &from) {
  asm volatile("st.global.cs.u16 [%0], %1;" ::"l"(to), "h"(from.word[0]) : "memory");
}
__device__ __forceinline__ void store_streaming(void *to, const Packed<1> &from) {
  asm volatile("st.global.cs.u8 [%0], %1;" ::"l"(to), "h"(static_cast<unsigned short>(from.word[0])) : "memory");
}

template <Caching kCaching, int kBytes>
__device__ __forceinline__ Packed<kBytes> load_packed(const void *from) {
  if constexpr (kCaching == Caching::kStreaming) {
    Packed<kBytes> packed;
    load_streaming(packed, from);
    return packed;
  } else {
    return *static_cast<const Packed<kBytes> *>(from);
  }
}

template <Caching kCaching, int kBytes>
__device__ __forceinline__ void store_packed(void *to, const Packed<kBytes> &packed) {
  if constexpr (kCaching == Caching::kStreaming) {
    store_streaming(to, packed);
  } else {
    *static_cast<Packed<kBytes> *>(to) = packed;
  }
}
#endif

}  // namespace evoflash
