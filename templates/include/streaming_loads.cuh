#pragma once

// Loads of data that a block reads once.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// 16 bytes of memory that nothing writes while the kernel runs, past the L1 cache.
__device__ __forceinline__ uint4 load_streaming(const void *gmem) {
  uint4 value;
  asm volatile("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 { %0, %1, %2, %3 }, [%4];"
               : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
               : "l"(gmem));
  return value;
}

}  // namespace evoflash
#endif
