#pragma once

// Registers that one warpgroup gives to another (setmaxnreg, sm_90a). A block starts with an equal share for each of
// its threads, by its launch bounds. Then each role, in a branch of its own of a single `if`, releases registers or
// waits until some are free.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <int kRegisters>
__device__ __forceinline__ void warpgroup_reg_alloc() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

template <int kRegisters>
__device__ __forceinline__ void warpgroup_reg_dealloc() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace evoflash
#endif
