#pragma once

#include "cluster.cuh"

// A barrier of all threads of a cluster (sm_90) that orders memory, and the stores to other blocks that it orders. Such
// a store needs no barrier object of its own, but the other block must be running: one barrier comes before the first.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
  cluster_wait();
}

__device__ __forceinline__ void store_remote(unsigned address, float2 value) {
  asm volatile("st.shared::cluster.v2.f32 [%0], { %1, %2 };" ::"r"(address), "f"(value.x), "f"(value.y) : "memory");
}

}  // namespace evoflash
#endif
