#pragma once

#include "elect.cuh"
#include "programmatic_launch.cuh"
#include "split/storage.cuh"
#include "split/tile_coord.cuh"
#include "tma.cuh"

// Initialises the barriers, and loads Q, K and V by TMA.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

template <class Traits>
struct Producer {
  using Storage = SharedStorage<Traits>;
  using Panel = typename Traits::Panel;
  using ValuePanel = typename Traits::ValuePanel;

  const Storage &smem;
  const Arguments<Traits> &args;
  const TileCoord<Traits> &coord;

  // Loads a part of K of a step. Where no row sees the split's keys, they are neither loaded nor waited for.
  __device__ __forceinline__ void load_k(int block_split, int n_block, int stage, int part) const {
    const int key = coord.first_key(coord.rank * Traits::kSplitsPerBlock + block_split, n_block);
    if constexpr (Traits::kMayPassEnd) {
      if (key >= coord.key_end) return;
    }
    const unsigned to = smem.k(block_split, stage) + part * (Traits::kKvPanelBytes / Traits::kParts);
    const unsigned barrier = smem.k_full(block_split, stage, part);
    mbarrier_arrive_expect_tx(barrier, Traits::kKBytes / Traits::kParts);
#pragma unroll
    for (int panel = 0; panel < Panel::kCount; ++panel)
      tma_load(to + panel * Traits::kKvPanelBytes, args.k,
               {panel * Panel::kDims, key + part * Traits::kPartKeys, coord.kv_head, coord.bidb}, barrier);
  }

  // Loads V of a step.
  __device__ __forceinline__ void load_v(int block_split, int n_block, int stage) const {
    const int key = coord.first_key(coord.rank * Traits::kSplitsPerBlock + block_split, n_block);
    if constexpr (Traits::kMayPassEnd) {
      if (key >= coord.key_end) return;
    }
    const unsigned to = smem.v(block_split, stage), barrier = smem.v_full(block_split, stage);
    mbarrier_arrive_expect_tx(barrier, Traits::kVBytes);
#pragma unroll
    for (int panel = 0; panel < ValuePanel::kCount; ++panel)
      tma_load(to + panel * Traits::kKvPanelBytes, args.v, {panel * ValuePanel::kDims, key, coord.kv_head, coord.bidb},
               barrier);
  }

  __device__ __forceinline__ void load_q() const {
    mbarrier_arrive_expect_tx(smem.q_full, Traits::kQBytes);
#pragma unroll
    for (int box = 0; box < Traits::kRowGroups * Panel::kCount; ++box)
      tma_load(smem.q + box * Traits::kQPanelBytes, args.q,
               {box % Panel::kCount * Panel::kDims, coord.first_row + box / Panel::kCount * Traits::kWarpgroupM,
                coord.bidh, coord.bidb},
               smem.q_full);
  }

  // Loads what the stages hold. TMA serves loads in order, so those of V come after all of K.
  __device__ __forceinline__ void load_stages() const {
#pragma unroll 1
    for (int stage = 0; stage < Traits::kStages; ++stage) {
#pragma unroll
      for (int split = 0; split < Traits::kSplitsPerBlock; ++split)
#pragma unroll
        for (int part = 0; part < Traits::kParts; ++part) load_k(split, stage, stage, part);
#pragma unroll
      for (int split = 0; split < Traits::kSplitsPerBlock; ++split) load_v(split, stage, stage);
    }
  }

  // Loads, into a stage that all warps of the split have read, what comes kStages steps later.
  __device__ __forceinline__ void reload(int block_split, int n_block, int stage) const {
#pragma unroll 1
    for (int part = 0; part < Traits::kParts; ++part) load_k(block_split, n_block + Traits::kStages, stage, part);
    load_v(block_split, n_block + Traits::kStages, stage);
  }

  // Initialises the barriers and issues the first loads. Two warps share this, as nothing else can be done before the
  // data arrives; a third one prepares the barriers of what other blocks send. A warp meets between the initialisation
  // of a barrier and its first phase: otherwise compute-sanitizer takes the arrival of the same thread for a race.
  __device__ __forceinline__ void begin(int warp) const {
    if (warp == 0) {
      if (elect_one()) {
        mbarrier_init(smem.q_full, 1);
        fence_mbarrier_init();
      }
      __syncwarp();
      wait_if_early();
      if (elect_one()) load_q();
    } else if (warp == 1) {
      if (elect_one()) {
#pragma unroll
        for (int number = 1; number < Storage::kLoadBarriers; ++number)
          mbarrier_init(smem.q_full + number * kMbarrierBytes, 1);
        fence_mbarrier_init();
      }
      __syncwarp();
      wait_if_early();
      if (elect_one()) load_stages();
    } else {
      if (Traits::kIsCluster && warp == 2) expect_partials();
      wait_if_early();
    }
  }

  // Waits for the kernel ahead, which may write what this one reads. Once this kernel may go on, so may the next begin.
  __device__ __forceinline__ static void wait_if_early() {
    if constexpr (Traits::kIsEarly) {
      wait_for_prerequisites();
      launch_dependents();
    }
  }

  __device__ __forceinline__ void expect_partials() const {
    if (elect_one()) {
      mbarrier_init(smem.stats_full, 1);
      mbarrier_init(smem.partials_full, 1);
      fence_mbarrier_init();
    }
    __syncwarp();
    if (elect_one()) {
      mbarrier_arrive_expect_tx(smem.stats_full, Storage::Partials::kStatsBytes);
      mbarrier_arrive_expect_tx(smem.partials_full, Storage::Partials::kRemotePartialsBytes);
    }
  }
};

}  // namespace evoflash::split
#endif
