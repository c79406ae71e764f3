#pragma once

#include "cluster.cuh"
#include "elect.cuh"
#include "mbarrier.cuh"
#include "mma/storage.cuh"
#include "mma/tile_coord.cuh"

// Making a block's mbarriers, and the first loads by TMA. Nothing else can be done before these land, so two warps
// share the work: one makes the barrier of Q and asks for Q, the other does so for K and V.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits>
__device__ __forceinline__ void init_load_barriers(unsigned barriers, int first) {
#pragma unroll
  for (int i = first; i < SharedStorage<Traits>::kLoadBarriers; ++i) mbarrier_init(barriers + i * kMbarrierBytes, 1);
}

// Announces what other blocks of the cluster will send.
template <class Traits>
__device__ __forceinline__ void expect_partials(const SharedStorage<Traits> &storage) {
  using Partials = typename SharedStorage<Traits>::Partials;
  constexpr int kOwnBytes =
      Traits::kMerge == Merge::kClusterColumns ? 0 : Partials::kPartialsBytes / Traits::kNumSplits;
  mbarrier_arrive_expect_tx(storage.stats_barrier(), Partials::kStatsBytes);
  mbarrier_arrive_expect_tx(storage.partials_barrier(), Partials::kPartialsBytes - kOwnBytes);
}

template <class Traits, class Producer>
__device__ __forceinline__ void init_barriers(const WarpCoord<Traits> &coord, const SharedStorage<Traits> &storage,
                                              const Producer &producer) {
  constexpr bool kIsTma = Traits::kIsTma, kTwoWarps = kIsTma && Traits::kNumWarps > 1;
  if (coord.warp == 0) {
    if (elect_one()) {
      if constexpr (kTwoWarps) {
        mbarrier_init(storage.q_barrier(), 1);
      } else if constexpr (kIsTma) {
        init_load_barriers<Traits>(storage.barriers(), 0);
      }
      if constexpr (Traits::kIsCluster) {
        mbarrier_init(storage.stats_barrier(), 1);
        mbarrier_init(storage.partials_barrier(), 1);
      } else if constexpr (Traits::kEarlyStats) {
        mbarrier_init(storage.stats_barrier(), 8 * Traits::kNumWarps);
      }
      fence_mbarrier_init();
    }
    if constexpr (kIsTma || Traits::kIsCluster) {
      __syncwarp();  // before a barrier's first phase: compute-sanitizer reports a race otherwise
      if (elect_one()) {
        if constexpr (kIsTma) producer.load_q();
        if constexpr (Traits::kIsCluster) expect_partials<Traits>(storage);
        if constexpr (kIsTma && !kTwoWarps) producer.load_stages();
      }
    }
  } else if (kTwoWarps && coord.warp == 1) {
    if constexpr (kTwoWarps) {
      if (elect_one()) {
        init_load_barriers<Traits>(storage.barriers(), 1);
        fence_mbarrier_init();
      }
      __syncwarp();
      if (elect_one()) producer.load_stages();
    }
  }
  __syncwarp();
  if constexpr (Traits::kIsCluster)
    cluster_arrive_relaxed();  // other blocks may send to this one once its barriers are made
}

}  // namespace evoflash::mma
#endif
