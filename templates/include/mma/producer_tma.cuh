#pragma once

#include "elect.cuh"
#include "mbarrier.cuh"
#include "mma/storage.cuh"
#include "mma/tile_coord.cuh"
#include "tma.cuh"

// Loads by TMA: one thread asks for everything in the order of use, and the warps of a slice wait for their own K and
// V.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits>
struct TmaProducer {
  using Tile = SmemTile<Traits::kHeadDim>;        // of Q and K
  using ValueTile = SmemTile<Traits::kValueDim>;  // of V
  static constexpr int kChunks = Traits::kChunks, kStages = Traits::kStages;

  const Arguments<Traits> &args;
  const WarpCoord<Traits> &coord;
  const KeyRange<Traits> &keys;
  const SharedStorage<Traits> &storage;

  __device__ __forceinline__ void load_q() const {
    const unsigned barrier = storage.q_barrier();
    mbarrier_arrive_expect_tx(barrier, SharedStorage<Traits>::kQBytes);
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel)
      tma_load(smem_address(storage.q()) + panel * Traits::kBlockM * Tile::kPanelRowBytes, args.q,
               {panel * Tile::kPanelDims, coord.first_row, coord.bidh, coord.bidb}, barrier);
  }

  // Loads a slice's K or V of a step, chunk by chunk. Slices that no row sees are neither loaded nor waited for.
  __device__ void load_k(int slice, int n_block, int stage) const {
    const int key = coord.first_key(slice, n_block);
    if constexpr (!Traits::kIsEvenN) {
      if (key >= keys.end) return;
    } else if constexpr (Traits::kIsOnline) {
      if (n_block >= Traits::kNumSteps) return;
    }
    load<Tile>(smem_address(storage.k(slice, stage)), args.k, storage.k_barrier(slice, stage), key);
  }
  __device__ void load_v(int slice, int n_block, int stage) const {
    const int key = coord.first_key(slice, n_block);
    if constexpr (!Traits::kIsEvenN) {
      if (key >= keys.end) return;
    } else if constexpr (Traits::kIsOnline) {
      if (n_block >= Traits::kNumSteps) return;
    }
    load<ValueTile>(smem_address(storage.v(slice, stage)), args.v, storage.v_barrier(slice, stage), key);
  }

  // Loads the first stages. TMA serves requests in order.
  __device__ __forceinline__ void load_stages() const {
    if constexpr (Traits::kIsOnline) {
#pragma unroll 1
      for (int stage = 0; stage < kStages; ++stage) load_stage(stage, stage);
    } else {
      load_stage(0, 0);
    }
  }

  __device__ __forceinline__ void wait_q() const { mbarrier_wait(storage.q_barrier(), 0); }

  // Waits for a chunk of K or V. Only warps that read it have to.
  static constexpr bool kIsCollective = false;
  template <int kChunk>
  __device__ __forceinline__ void acquire_k(int, int stage, unsigned phase) const {
    mbarrier_wait(storage.k_barrier(coord.slice, stage) + kChunk * kMbarrierBytes, phase);
  }
  template <int kChunk>
  __device__ __forceinline__ void acquire_v(int, int stage, unsigned phase) const {
    mbarrier_wait(storage.v_barrier(coord.slice, stage) + kChunk * kMbarrierBytes, phase);
  }

  // Loads the K or V that takes the place of this step's, once all warps of the slice have read it.
  __device__ __forceinline__ void release_k(int n_block, int stage) const {
    if constexpr (Traits::kIsOnline) {
      coord.sync_slice();
      if ((Traits::kWarpsM == 1 || coord.warp_m == 0) && elect_one()) load_k(coord.slice, n_block + kStages, stage);
    }
  }
  __device__ __forceinline__ void release_v(int n_block, int stage) const {
    if constexpr (Traits::kIsOnline) {
      coord.sync_slice();
      if ((Traits::kWarpsM == 1 || coord.warp_m == 0) && elect_one()) load_v(coord.slice, n_block + kStages, stage);
    }
  }

 private:
  // Loads a step in groups of slices: K of a group, then its V.
  __device__ __forceinline__ void load_stage(int n_block, int stage) const {
    if constexpr (Traits::kLoadGroups == 1) {
      load_slices(0, Traits::kWarpsN, n_block, stage);
    } else {
      constexpr int kGroup = Traits::kWarpsN / Traits::kLoadGroups;
#pragma unroll 1
      for (int group = 0; group < Traits::kWarpsN; group += kGroup) load_slices(group, group + kGroup, n_block, stage);
    }
  }
  __device__ __forceinline__ void load_slices(int first, int end, int n_block, int stage) const {
#pragma unroll 1
    for (int slice = first; slice < end; ++slice) load_k(slice, n_block, stage);
#pragma unroll 1
    for (int slice = first; slice < end; ++slice) load_v(slice, n_block, stage);
  }

  template <class LoadedTile>
  __device__ __forceinline__ void load(unsigned to, const TensorMap &map, unsigned barrier, int key) const {
    constexpr int kTileBytes = Traits::kWarpN * LoadedTile::kPanels * LoadedTile::kPanelRowBytes;
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      mbarrier_arrive_expect_tx(barrier + chunk * kMbarrierBytes, kTileBytes / kChunks);
#pragma unroll
      for (int panel = 0; panel < LoadedTile::kPanels; ++panel)
        tma_load(to + (panel * Traits::kWarpN + chunk * Traits::kChunkN) * LoadedTile::kPanelRowBytes, map,
                 {panel * LoadedTile::kPanelDims, key + chunk * Traits::kChunkN, coord.bidh_kv, coord.bidb},
                 barrier + chunk * kMbarrierBytes);
    }
  }
};

}  // namespace evoflash::mma
#endif
