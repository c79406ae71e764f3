#pragma once

#include "linear_wgmma/kernel_traits.cuh"
#include "mbarrier.cuh"
#include "pipeline_state.cuh"
#include "smem_address.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_wgmma {

// A block's shared memory: the stages of x, then of the weight; each warpgroup's buffers of the epilogue; mbarriers.
template <class Traits>
struct SharedStorage {
  static constexpr int kStages = Traits::kStages, kBuffers = Traits::kBuffers;
  static constexpr int kWeightOffset = kStages * Traits::kXBytes;
  static constexpr int kBuffersOffset = kWeightOffset + kStages * Traits::kWeightBytes;
  static constexpr int kBarriersOffset = kBuffersOffset + Traits::kNumWarpgroups * kBuffers * Traits::kChunkBytes;
  static constexpr int kNumBarriers = 2 * kStages + Traits::kNumWarpgroups * kBuffers;
  static_assert(kBarriersOffset + kNumBarriers * kMbarrierBytes <= Traits::kSmemBytes,
                "the search space computes what the kernel takes");

  unsigned char *base;
  unsigned address;

  __device__ __forceinline__ explicit SharedStorage(unsigned char *base) : base(base), address(smem_address(base)) {}

  __device__ __forceinline__ unsigned x(int stage) const { return address + stage * Traits::kXBytes; }
  __device__ __forceinline__ unsigned weight(int stage) const {
    return address + kWeightOffset + stage * Traits::kWeightBytes;
  }
  __device__ __forceinline__ static int buffer_offset(int warpgroup, int buffer) {
    return kBuffersOffset + (warpgroup * kBuffers + buffer) * Traits::kChunkBytes;
  }

  // A phase of `full` ends when a stage's bytes have arrived, of `empty` when they have been read, of `residual_full`
  // when a chunk of the residual has arrived.
  __device__ __forceinline__ unsigned barrier(int number) const {
    return address + kBarriersOffset + number * kMbarrierBytes;
  }
  __device__ __forceinline__ unsigned full(int stage) const { return barrier(stage); }
  __device__ __forceinline__ unsigned empty(int stage) const { return barrier(kStages + stage); }
  __device__ __forceinline__ unsigned residual_full(int warpgroup, int buffer) const {
    return barrier(2 * kStages + warpgroup * kBuffers + buffer);
  }

  // One thread initialises the barriers.
  __device__ __forceinline__ void init_barriers() const {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(full(stage), 1);
      mbarrier_init(empty(stage), Traits::kReaderWarps);
    }
    for (int buffer = 0; buffer < Traits::kNumWarpgroups * kBuffers; ++buffer)
      mbarrier_init(residual_full(0, buffer), 1);
    fence_mbarrier_init();
  }
};

}  // namespace evoflash::linear_wgmma
#endif
