#pragma once

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// The address within shared memory, 32 bits, as the instructions of TMA, mbarriers and wgmma take it.
__device__ __forceinline__ unsigned smem_address(const void *smem) {
  return static_cast<unsigned>(__cvta_generic_to_shared(smem));
}

}  // namespace evoflash
#endif
