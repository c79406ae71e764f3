#pragma once

#include "elect.cuh"
#include "hopper/storage.cuh"
#include "hopper/tile_coord.cuh"
#include "hopper/tile_scheduler.cuh"
#include "tma.cuh"

// Loads Q, K and V by TMA.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

// Loads a tile of K or V into a stage as soon as that is empty. Each block of a cluster loads a part of the tile's
// rows, for all blocks.
template <class Traits, class Panel>
__device__ __forceinline__ void load_tile(unsigned smem, const TensorMap &map, int row, int bidh, int bidb,
                                          unsigned full, unsigned empty, unsigned phase, int rank) {
  mbarrier_wait(empty, phase ^ 1);
  mbarrier_arrive_expect_tx(full, Panel::kCount * Traits::kKvPanelBytes);
#pragma unroll
  for (int panel = 0; panel < Panel::kCount; ++panel) {
    if constexpr (Traits::kIsCluster) {
      constexpr int kPartRows = Traits::kBlockN / Traits::kCluster, kPartBytes = kPartRows * Panel::kRowBytes;
      constexpr int kAllBlocks = (1 << Traits::kCluster) - 1;
      const unsigned to = smem + panel * Traits::kKvPanelBytes + rank * kPartBytes;
      const TmaCoord from = {panel * Panel::kDims, row + rank * kPartRows, bidh, bidb};
      if constexpr (Traits::kIsKvKept) {
        tma_load_multicast(to, map, from, full, kAllBlocks, l2_evict_last());
      } else {
        tma_load_multicast(to, map, from, full, kAllBlocks);
      }
    } else {
      const unsigned to = smem + panel * Traits::kKvPanelBytes;
      const TmaCoord from = {panel * Panel::kDims, row, bidh, bidb};
      if constexpr (Traits::kIsKvKept) {
        tma_load(to, map, from, full, l2_evict_last());
      } else {
        tma_load(to, map, from, full);
      }
    }
  }
}

template <class Traits>
__device__ __forceinline__ void load_k(const SharedStorage<Traits> &smem, const Arguments<Traits> &args,
                                       const TileCoord<Traits> &coord, int kv_head, int n_block, int stage,
                                       unsigned phase, int rank) {
  load_tile<Traits, typename Traits::Panel>(smem.k(stage), args.k, coord.first_key + n_block * Traits::kBlockN, kv_head,
                                            coord.bidb, smem.k_full(stage), smem.k_empty(stage), phase, rank);
}

template <class Traits>
__device__ __forceinline__ void load_v(const SharedStorage<Traits> &smem, const Arguments<Traits> &args,
                                       const TileCoord<Traits> &coord, int kv_head, int n_block, int stage,
                                       unsigned phase, int rank) {
  load_tile<Traits, typename Traits::ValuePanel>(smem.v(stage), args.v, coord.first_key + n_block * Traits::kBlockN,
                                                 kv_head, coord.bidb, smem.v_full(stage), smem.v_empty(stage), phase,
                                                 rank);
}

// Loads Q of all warpgroups for the block's n-th tile.
template <class Traits>
__device__ __forceinline__ void load_q(const SharedStorage<Traits> &smem, const Arguments<Traits> &args,
                                       const TileCoord<Traits> &coord, int n, int rank) {
  using Panel = typename Traits::Panel;
#pragma unroll
  for (int warpgroup = 0; warpgroup < Traits::kNumWarpgroups; ++warpgroup) {
    const TileCoord<Traits> own = coord_of_warpgroup(coord, warpgroup, rank);
    const int number = smem.q_number(warpgroup, n);
    if constexpr (Traits::kIsPersistent) mbarrier_wait(smem.q_empty(number), smem.q_phase(n) ^ 1);
    mbarrier_arrive_expect_tx(smem.q_full(number), Panel::kCount * Traits::kQPanelBytes);
#pragma unroll
    for (int panel = 0; panel < Panel::kCount; ++panel) {
      const unsigned to = smem.q(number) + panel * Traits::kQPanelBytes;
      const TmaCoord from = {panel * Panel::kDims, own.first_row, own.bidh, own.bidb};
      if constexpr (Traits::kIsKvKept) {
        tma_load(to, args.q, from, smem.q_full(number), l2_evict_first());
      } else {
        tma_load(to, args.q, from, smem.q_full(number));
      }
    }
  }
}

// Loads what the block's n-th tile needs, in the order in which the consumers wait for it. load_k and load_v load a
// step into the next stage.
template <class Traits, class LoadK, class LoadV>
__device__ __forceinline__ void load_for_tile(const SharedStorage<Traits> &smem, const Arguments<Traits> &args,
                                              int rank, int tile, int n, const LoadK &load_k, const LoadV &load_v) {
  const TileCoord<Traits> coord = make_tile_coord(args, tile);
  const int kv_head = kv_head_of(coord.bidh, args.group_inverse);
  const int n_blocks = n_blocks_before(args, coord, coord.first_row + Traits::kTileM);
  if constexpr (Traits::kIsPersistent) {
    load_k(coord, kv_head, 0);
    load_q(smem, args, coord, n, rank);
  } else {
    load_q(smem, args, coord, n, rank);
    load_k(coord, kv_head, 0);
  }
  for (int n_block = 1; n_block < n_blocks; ++n_block) {
    if constexpr (Traits::kIsStepOverlap) {
      load_k(coord, kv_head, n_block);
      load_v(coord, kv_head, n_block - 1);
    } else {
      load_v(coord, kv_head, n_block - 1);
      load_k(coord, kv_head, n_block);
    }
  }
  load_v(coord, kv_head, n_blocks - 1);
}

// What the thread of a producer warpgroup that loads does.
template <class Traits>
__device__ __forceinline__ void produce(const SharedStorage<Traits> &smem, const Arguments<Traits> &args,
                                        int block_rank) {
  const int rank = Traits::kIsCluster ? block_rank : 0;  // a constant without clusters
  PipelineState<Traits::kStages> k_state, v_state;
  const auto load_next_k = [&](const TileCoord<Traits> &coord, int kv_head, int n_block) {
    load_k(smem, args, coord, kv_head, n_block, k_state.index, k_state.phase, rank);
    ++k_state;
  };
  const auto load_next_v = [&](const TileCoord<Traits> &coord, int kv_head, int n_block) {
    load_v(smem, args, coord, kv_head, n_block, v_state.index, v_state.phase, rank);
    ++v_state;
  };

  if constexpr (Traits::kIsDynamic) {
    // The next tile is drawn when this one has been loaded, and not before: the later, the nearer to its end, and to
    // which block is free first.
    int n = 0;
    for (int tile = blockIdx.x; tile < args.num_tiles; tile = atomicAdd(args.next_tile, 1), ++n) {
      publish_tile(smem, n, tile);
      load_for_tile(smem, args, rank, tile, n, load_next_k, load_next_v);
    }
    publish_tile(smem, n, args.num_tiles);
  } else if constexpr (Traits::kIsPersistent) {
    for (int n = 0, tile; (tile = static_tile<Traits>(n)) < args.num_tiles; ++n)
      load_for_tile(smem, args, rank, tile, n, load_next_k, load_next_v);
  } else {
    load_for_tile(smem, args, rank, only_tile(args), 0, load_next_k, load_next_v);
  }

  if constexpr (Traits::kIsCluster) {
    // The other blocks of the cluster arrive at this block's barriers until they have read the last tiles, too. A block
    // must not exit before.
    for (int stage = 0; stage < Traits::kStages; ++stage) {
      mbarrier_wait(smem.k_empty(k_state.index), k_state.phase ^ 1);
      mbarrier_wait(smem.v_empty(v_state.index), v_state.phase ^ 1);
      ++k_state;
      ++v_state;
    }
  }
}

// The loads of a block without a producer warpgroup: one lane of the first warp issues them between the products.
template <class Traits, bool kHasProducer = Traits::kHasProducer>
struct InlineProducer {
  const SharedStorage<Traits> &smem;
  const Arguments<Traits> &args;
  const TileCoord<Traits> &coord;
  int n_blocks, kv_head, warp;

  // Loads Q, and as much of K and V as there are stages.
  __device__ __forceinline__ InlineProducer(const SharedStorage<Traits> &smem, const Arguments<Traits> &args,
                                            const TileCoord<Traits> &coord, int n_blocks)
      : smem(smem), args(args), coord(coord), n_blocks(n_blocks) {
    kv_head = kv_head_of(coord.bidh, args.group_inverse);
    warp = __shfl_sync(kAllLanes, threadIdx.x / 32, 0);
    if (warp == 0 && elect_one()) {
      load_q(smem, args, coord, 0, 0);
      for (int n_block = 0; n_block < min(n_blocks, Traits::kStages); ++n_block) {
        load_k(smem, args, coord, kv_head, n_block, n_block, 0, 0);
        load_v(smem, args, coord, kv_head, n_block, n_block, 0, 0);
      }
    }
  }

  // Loads, into the stage of a step that all warps have read, what comes kStages steps later.
  __device__ __forceinline__ void reload_k(int n_block, const PipelineState<Traits::kStages> &state) const {
    if (warp == 0 && n_block + Traits::kStages < n_blocks && elect_one())
      load_k(smem, args, coord, kv_head, n_block + Traits::kStages, state.index, state.phase ^ 1, 0);
  }
  __device__ __forceinline__ void reload_v(int n_block, const PipelineState<Traits::kStages> &state) const {
    if (warp == 0 && n_block + Traits::kStages < n_blocks && elect_one())
      load_v(smem, args, coord, kv_head, n_block + Traits::kStages, state.index, state.phase ^ 1, 0);
  }
};

// Beside a producer warpgroup there is nothing to do.
template <class Traits>
struct InlineProducer<Traits, true> {
  __device__ __forceinline__ InlineProducer(const SharedStorage<Traits> &, const Arguments<Traits> &,
                                            const TileCoord<Traits> &, int) {}
  __device__ __forceinline__ void reload_k(int, const PipelineState<Traits::kStages> &) const {}
  __device__ __forceinline__ void reload_v(int, const PipelineState<Traits::kStages> &) const {}
};

}  // namespace evoflash::hopper
#endif
