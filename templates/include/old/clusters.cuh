/* Clusters (sm_90): blocks that run at the same time and write into each other's shared memory. By inline PTX: the headers of
 * cooperative groups triple the time of a build. */
namespace evoflash {

__device__ __forceinline__ int cluster_rank() {
  int rank;
  asm("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

/* All threads of the cluster wait for each other. It orders nothing but new barriers (see mbarriers_fence): an arrival that
 * released all writes would wait for those to global memory too. */
__device__ __forceinline__ void cluster_arrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ __forceinline__ void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

/* The same place in the shared memory of another block. */
__device__ __forceinline__ unsigned remote_address(unsigned shared, int rank) {
  unsigned address;
  asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(address) : "r"(shared), "r"(rank));
  return address;
}

/* Stores whose bytes complete on a barrier beside their target: no fence, no arrival. */
__device__ __forceinline__ void store_remote(unsigned address, uint4 value, unsigned barrier) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v4.b32 [%0], { %1, %2, %3, %4 }, [%5];" ::"r"(address), "r"(value.x), "r"(value.y), "r"(value.z), "r"(value.w), "r"(barrier) : "memory");
}

__device__ __forceinline__ void store_remote(unsigned address, float2 value, unsigned barrier) {
  asm volatile("st.async.weak.shared::cluster.mbarrier::complete_tx::bytes.v2.f32 [%0], { %1, %2 }, [%3];" ::"r"(address), "f"(value.x), "f"(value.y), "r"(barrier) : "memory");
}

}  // namespace evoflash
