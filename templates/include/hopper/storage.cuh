#pragma once

#include "hopper/kernel_traits.cuh"
#include "mbarrier.cuh"
#include "pipeline_state.cuh"
#include "smem_address.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

// A block's shared memory: Q of each warpgroup, of one tile or two; the stages of K, then of V; P of each warpgroup
// where it is an operand in shared memory; mbarriers; the next tile, in two places.
template <class Traits>
struct SharedStorage {
  static constexpr int kNumQ = Traits::kQStages * Traits::kNumWarpgroups;
  static constexpr int kStages = Traits::kStages;

  // P lies in panels like those of Q, along the keys.
  static constexpr int kPPanels = (Traits::kBlockN + Traits::Panel::kDims - 1) / Traits::Panel::kDims;
  static constexpr int kPBytes = Traits::kIsPInSmem ? kPPanels * Traits::kQPanelBytes : 0;
  static constexpr int kPOffset = kNumQ * Traits::kQBytes + kStages * (Traits::kKBytes + Traits::kVBytes);

  static constexpr int kBarriersOffset = kPOffset + Traits::kNumWarpgroups * kPBytes;
  static constexpr int kNumBarriers =
      (Traits::kIsPersistent ? 2 : 1) * kNumQ + 4 * kStages + (Traits::kIsDynamic ? 4 : 0);

  static constexpr int kTilesOffset = kBarriersOffset + kNumBarriers * kMbarrierBytes;
  static constexpr int kTilesBytes = Traits::kIsDynamic ? 2 * int(sizeof(int)) : 0;
  static_assert(kTilesOffset + kTilesBytes <= Traits::kSmemBytes, "the search space computes what the kernel takes");

  unsigned char *base;
  unsigned address;

  __device__ __forceinline__ explicit SharedStorage(unsigned char *base) : base(base), address(smem_address(base)) {}

  __device__ __forceinline__ unsigned q(int number) const { return address + number * Traits::kQBytes; }
  __device__ __forceinline__ unsigned k(int stage) const {
    return address + kNumQ * Traits::kQBytes + stage * Traits::kKBytes;
  }
  __device__ __forceinline__ unsigned v(int stage) const { return k(kStages) + stage * Traits::kVBytes; }
  __device__ __forceinline__ unsigned p(int warpgroup) const { return address + kPOffset + warpgroup * kPBytes; }

  // Pointers for ordinary stores. The output of a warpgroup takes the place of its Q.
  __device__ __forceinline__ unsigned char *o_pointer(int number) const { return base + number * Traits::kQBytes; }
  __device__ __forceinline__ unsigned char *p_pointer(int warpgroup) const {
    return base + kPOffset + warpgroup * kPBytes;
  }

  // A phase of a `full` barrier ends when a tile's bytes have arrived, of an `empty` barrier when it has been read.
  __device__ __forceinline__ unsigned barrier(int number) const {
    return address + kBarriersOffset + number * kMbarrierBytes;
  }
  __device__ __forceinline__ unsigned k_full(int stage) const { return barrier(stage); }
  __device__ __forceinline__ unsigned k_empty(int stage) const { return barrier(kStages + stage); }
  __device__ __forceinline__ unsigned v_full(int stage) const { return barrier(2 * kStages + stage); }
  __device__ __forceinline__ unsigned v_empty(int stage) const { return barrier(3 * kStages + stage); }
  __device__ __forceinline__ unsigned q_full(int number) const { return barrier(4 * kStages + number); }
  __device__ __forceinline__ unsigned q_empty(int number) const { return barrier(4 * kStages + kNumQ + number); }
  __device__ __forceinline__ unsigned tile_full(int place) const { return barrier(kNumBarriers - 4 + place); }
  __device__ __forceinline__ unsigned tile_empty(int place) const { return barrier(kNumBarriers - 2 + place); }
  __device__ __forceinline__ unsigned tile(int place) const {
    return address + kTilesOffset + place * int(sizeof(int));
  }

  // Where a warpgroup's Q of the n-th tile lies, and the parity of the phase in which it is read there.
  __device__ __forceinline__ static int q_number(int warpgroup, int n) {
    if constexpr (Traits::kQStages == 2) {
      return n % 2 * Traits::kNumWarpgroups + warpgroup;
    } else {
      return warpgroup;
    }
  }
  __device__ __forceinline__ static unsigned q_phase(int n) {
    if constexpr (Traits::kQStages == 2) {
      return n / 2 % 2;
    } else {
      return n % 2;
    }
  }

  // One thread initialises the barriers.
  __device__ __forceinline__ void init_barriers() const {
    constexpr int kReaders = Traits::kConsumerThreads / 32 * Traits::kCluster;  // warps
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrier_init(k_full(stage), 1);
      mbarrier_init(k_empty(stage), kReaders);
      mbarrier_init(v_full(stage), 1);
      mbarrier_init(v_empty(stage), kReaders);
    }
    for (int number = 0; number < kNumQ; ++number) {
      mbarrier_init(q_full(number), 1);
      if constexpr (Traits::kIsPersistent) mbarrier_init(q_empty(number), Traits::kIsTmaStore ? 1 : 4);
    }
    if constexpr (Traits::kIsDynamic) {
      for (int place = 0; place < 2; ++place) {
        mbarrier_init(tile_full(place), 1);
        mbarrier_init(tile_empty(place), kReaders);
      }
    }
    fence_mbarrier_init();
  }
};

}  // namespace evoflash::hopper
#endif
