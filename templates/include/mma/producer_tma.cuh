#pragma once

#include "elect.cuh"
#include "mbarrier.cuh"
#include "mma/pipeline_state.cuh"
#include "mma/storage.cuh"
#include "mma/tile_coord.cuh"
#include "tma.cuh"

// Loads by TMA: one thread asks for everything in the order of use, and the warps of a slice wait for their own K and V.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits>
struct TmaProducer {
  using Tile = SmemTile<Traits::kHeadDim>;
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
  template <Operand kOperand>
  __device__ __forceinline__ void load(int slice, int n_block, int stage) const {
    const int key = coord.first_key(slice, n_block);
    if constexpr (!Traits::kIsEvenN) {
      if (key >= keys.end) return;
    } else if constexpr (Traits::kIsOnline) {
      if (n_block >= keys.n_block_max()) return;
    }
    const TensorMap &map = kOperand == Operand::kK ? args.k : args.v;
    const unsigned to = smem_address(storage.template tile<kOperand>(slice, stage));
    const unsigned barrier = storage.template load_barrier<kOperand>(slice, stage);
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      mbarrier_arrive_expect_tx(barrier + chunk * kMbarrierBytes, SharedStorage<Traits>::kTileBytes / kChunks);
#pragma unroll
      for (int panel = 0; panel < Tile::kPanels; ++panel)
        tma_load(to + (panel * Traits::kWarpN + chunk * Traits::kChunkN) * Tile::kPanelRowBytes, map,
                 {panel * Tile::kPanelDims, key + chunk * Traits::kChunkN, coord.bidh_kv, coord.bidb},
                 barrier + chunk * kMbarrierBytes);
    }
  }

  // Loads the first stages, in kLoadGroups groups of slices: K of a group, then V. TMA serves requests in order.
  __device__ __forceinline__ void load_stages() const {
    constexpr int kGroup = Traits::kWarpsN / Traits::kLoadGroups;
#pragma unroll 1
    for (int stage = 0; stage < kStages; ++stage) {
#pragma unroll 1
      for (int group = 0; group < Traits::kWarpsN; group += kGroup) {
#pragma unroll 1
        for (int slice = group; slice < group + kGroup; ++slice) load<Operand::kK>(slice, stage, stage);
#pragma unroll 1
        for (int slice = group; slice < group + kGroup; ++slice) load<Operand::kV>(slice, stage, stage);
      }
    }
  }

  // The loads have been started with the barriers (barriers.cuh), which all threads may use from here on.
  __device__ __forceinline__ void prologue() const { __syncthreads(); }

  __device__ __forceinline__ void wait_q() const { mbarrier_wait(storage.q_barrier(), 0); }

  // Waits for a chunk of K or V; only the warps that read it have to.
  static constexpr bool kIsCollective = false;
  template <Operand kOperand, int kChunk>
  __device__ __forceinline__ void acquire(int, PipelineState<Traits> state) const {
    const unsigned barrier = storage.template load_barrier<kOperand>(coord.slice, state.stage);
    mbarrier_wait(barrier + kChunk * kMbarrierBytes, state.phase);
  }

  // Loads the K or V that takes the place of this step's, once all warps of the slice have read it.
  template <Operand kOperand>
  __device__ __forceinline__ void release(int n_block, PipelineState<Traits> state) const {
    if constexpr (Traits::kIsOnline) {
      coord.sync_slice();
      if ((Traits::kWarpsM == 1 || coord.warp_m == 0) && elect_one())
        load<kOperand>(coord.slice, n_block + kStages, state.stage);
    }
  }
};

}  // namespace evoflash::mma
#endif
