#pragma once

#include "cluster.cuh"
#include "elect.cuh"
#include "linear_wgmma/mainloop.cuh"
#include "linear_wgmma/producer.cuh"
#include "programmatic_launch.cuh"
#include "register_allocation.cuh"
#include "warp.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_wgmma {

// The kernel: initialises the barriers, then gives each warpgroup its role.
template <class Traits>
__device__ __forceinline__ void multiply(unsigned char *shared_memory, const Arguments &args) {
  const SharedStorage<Traits> smem(shared_memory);
  int rank = 0;
  if constexpr (Traits::kIsCluster) rank = cluster_rank();

  if (threadIdx.x == Traits::kConsumerThreads) {
    prefetch_tensor_map(args.x);
    prefetch_tensor_map(args.weight);
    if constexpr (!Traits::kIsSplitK) {
      prefetch_tensor_map(args.residual);
      prefetch_tensor_map(args.out);
    }
    smem.init_barriers();
  }
  if constexpr (Traits::kIsCluster) {
    cluster_arrive_relaxed();
    cluster_wait();
  } else {
    __syncthreads();
  }
  if constexpr (Traits::kIsEarly) {
    wait_for_prerequisites();  // the kernel ahead may write what this one reads
    launch_dependents();
  }

  const int warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);  // tells the compiler that a warp has only one
  if (warpgroup == Traits::kNumWarpgroups) {
    if constexpr (Traits::kMovesRegisters) warpgroup_reg_dealloc<Traits::kProducerRegisters>();
    const int warp = __shfl_sync(kAllLanes, threadIdx.x / 32, 0);
    if (warp == Traits::kConsumerThreads / 32 && elect_one()) produce(smem, args, rank);
  } else {
    if constexpr (Traits::kMovesRegisters) warpgroup_reg_alloc<Traits::kConsumerRegisters>();
    Consumer<Traits>{smem, args, warpgroup, rank}.run();
  }
}

}  // namespace evoflash::linear_wgmma
#endif
