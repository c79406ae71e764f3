#pragma once

// Named barriers of a block (PTX ISA, "bar"): kNumThreads threads, in whole warps, meet at one of 16. Barrier 0 is
// __syncthreads(); 1 to 15 are free.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Arrives, and waits until all kNumThreads threads have arrived.
template <int kNumThreads>
__device__ __forceinline__ void named_barrier_sync(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kNumThreads) : "memory");
}

// Arrives without waiting; kNumThreads counts those that arrive and those that sync.
template <int kNumThreads>
__device__ __forceinline__ void named_barrier_arrive(int barrier) {
  asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "n"(kNumThreads) : "memory");
}

}  // namespace evoflash
#endif
