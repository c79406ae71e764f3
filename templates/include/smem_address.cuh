#pragma once

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// The address within shared memory, 32 bits, as the instructions of TMA, mbarriers and wgmma take it.
__device__ __forceinline__ unsigned smem_address(const void *smem) {
  return static_cast<unsigned>(__cvta_generic_to_shared(smem));
}

// An integer at such an address.
__device__ __forceinline__ int load_shared(unsigned smem) {
  int value;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(value) : "r"(smem) : "memory");
  return value;
}
__device__ __forceinline__ void store_shared(unsigned smem, int value) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(smem), "r"(value) : "memory");
}

}  // namespace evoflash
#endif
