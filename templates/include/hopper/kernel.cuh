#pragma once

#include "cluster.cuh"
#include "hopper/mainloop.cuh"
#include "hopper/producer.cuh"
#include "programmatic_launch.cuh"
#include "register_allocation.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

// The kernel: initialises the barriers, then gives each warpgroup its role.
template <class Traits>
__device__ __forceinline__ void attention(unsigned char *shared_memory, const Arguments<Traits> &args) {
  const SharedStorage<Traits> smem(shared_memory);
  int rank = 0;
  if constexpr (Traits::kIsCluster) rank = cluster_rank();

  if (threadIdx.x == (Traits::kHasProducer ? Traits::kConsumerThreads : 0)) {
    prefetch_tensor_map(args.q);
    prefetch_tensor_map(args.k);
    prefetch_tensor_map(args.v);
    if constexpr (Traits::kIsTmaStore) prefetch_tensor_map(args.out);
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

  if constexpr (Traits::kHasProducer) {
    const int warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);  // tells the compiler that a warp has only one
    if (warpgroup == Traits::kNumWarpgroups) {
      warpgroup_reg_dealloc<Traits::kProducerRegisters>();
      const int warp = __shfl_sync(kAllLanes, threadIdx.x / 32, 0);
      if (warp == Traits::kConsumerThreads / 32 && elect_one()) produce(smem, args, rank);
    } else {
      warpgroup_reg_alloc<Traits::kConsumerRegisters>();
      Consumer<Traits>(smem, args, warpgroup, rank).run();
    }
  } else {
    Consumer<Traits>(smem, args, 0, rank).run();
  }
}

}  // namespace evoflash::hopper
#endif
