/* A barrier of kThreads threads (whole warps) of a block. Barrier 0 is __syncthreads(); 1 to 15 are free. */
namespace evoflash {

template <int kThreads>
__device__ __forceinline__ void barrier_sync(int barrier) {
  asm volatile("bar.sync %0, %1;" ::"r"(barrier), "n"(kThreads) : "memory");
}

}  // namespace evoflash
