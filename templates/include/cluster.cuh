#pragma once

// Clusters (sm_90): blocks that run at the same time and can write to each other's shared memory. Written as inline PTX
// because the headers of cooperative groups triple the time of a build.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

__device__ __forceinline__ int cluster_rank() {
  int rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// A barrier of all threads of the cluster. Its arrival is relaxed: it orders nothing but the initialisation of
// mbarriers (see fence_mbarrier_init). An arrival with release would wait for all writes to global memory, too.
__device__ __forceinline__ void cluster_arrive_relaxed() {
  asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory");
}
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// A barrier of all threads of the cluster, after which each sees what the others have written before it.
__device__ __forceinline__ void cluster_sync() {
  asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}

// The same address in the shared memory of another block.
__device__ __forceinline__ unsigned remote_address(unsigned smem, int rank) {
  unsigned address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(smem), "r"(rank));
  return address;
}

// Reads what another block has in its shared memory.
__device__ __forceinline__ float4 load_remote(unsigned address) {
  float4 value;
  asm volatile("ld.shared::cluster.v4.f32 { %0, %1, %2, %3 }, [%4];"
               : "=f"(value.x), "=f"(value.y), "=f"(value.z), "=f"(value.w)
               : "r"(address)
               : "memory");
  return value;
}

__device__ __forceinline__ float2 load_remote_pair(unsigned address) {
  float2 value;
  asm volatile("ld.shared::cluster.v2.f32 { %0, %1 }, [%2];" : "=f"(value.x), "=f"(value.y) : "r"(address) : "memory");
  return value;
}

// A store to another block, which must be running; `cluster_sync` orders it. It needs no barrier object of its own.
__device__ __forceinline__ void store_remote(unsigned address, float2 value) {
  asm volatile("st.shared::cluster.v2.f32 [%0], { %1, %2 };" ::"r"(address), "f"(value.x), "f"(value.y) : "memory");
}

// Asynchronous stores to another block. Their bytes complete on an mbarrier of that block, so neither a fence nor an
// arrival is needed.
__device__ __forceinline__ void store_remote(unsigned address, uint4 value, unsigned barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], { %1, %2, %3, %4 }, [%5];" ::"r"(
          address),
      "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(barrier)
      : "memory");
}

__device__ __forceinline__ void store_remote(unsigned address, float2 value, unsigned barrier) {
  asm volatile(
      "st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], { %1, %2 }, [%3];" ::"r"(address),
      "f"(value.x), "f"(value.y), "r"(barrier)
      : "memory");
}

}  // namespace evoflash
#endif
