#pragma once

#include "cp_async.cuh"
#include "elect.cuh"
#include "latent/storage.cuh"
#include "latent/tile_coord.cuh"
#include "smem_tile.cuh"
#include "tma.cuh"

// Loads of keys, whose first columns are the values.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

// All threads copy the tile's rows of Q. Rows that the problem lacks are zero.
template <class Traits>
__device__ __forceinline__ void copy_q(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord) {
  using Tile = TileOf<Traits>;
  constexpr int kUnits = Tile::kUnits;
  for (int i = threadIdx.x; i < Traits::kBlockM * kUnits; i += Traits::kNumThreads) {
    const int row = i / kUnits, unit = i % kUnits, panel = unit / Tile::kPanelUnits;
    unsigned char *const to =
        smem.q() + panel * Traits::kBlockM * Tile::kPanelRowBytes + Tile::unit_offset(row, unit % Tile::kPanelUnits);
    const bool is_inside = coord.has_row(row);
    const unsigned char *const from = is_inside ? coord.row_pointer(coord.args.q, row) : coord.args.q.base;
    cp_async(to, from + unit * 16, is_inside);
  }
  cp_async_commit();
}

// By cp.async. The keys of a step are a group of copies; beyond the last step groups are empty, so that the counts of
// the waits hold.
template <class Traits>
struct CpAsyncProducer {
  const SharedStorage<Traits> &smem;
  const TileCoord<Traits> &coord;
  const unsigned char *const k = row_of(coord.args.k, coord.bidb, coord.kv_head, 0);

  __device__ __forceinline__ void prepare() const {}

  // Q, then the first stages. Before a barrier of the block after which Q and the first step's keys are there.
  __device__ __forceinline__ void begin() const {
    copy_q(smem, coord);
#pragma unroll
    for (int stage = 0; stage < Traits::kStages; ++stage) load(stage, stage);
    cp_async_wait<Traits::kStages - 1>();
  }

  __device__ __forceinline__ void load(int step, int stage) const {
    if (step < coord.num_steps) {
      const int key = coord.first_key(step);
      copy_rows<TileOf<Traits>, Traits::kBlockN, Traits::kBlockN, Traits::kNumThreads, 4>(
          smem.keys(stage), k + int64_t(key) * coord.args.k.row * 16, coord.args.k.row, threadIdx.x,
          coord.some.end - key);
    }
    cp_async_commit();
  }

  // Before a barrier of the block after which the next step's keys are there.
  __device__ __forceinline__ void wait_for_next() const { cp_async_wait<Traits::kStages - 2>(); }

  __device__ __forceinline__ void wait(int, unsigned) const {}
};

// By TMA, which fills up with zeros what lies beyond the last key.
template <class Traits>
struct TmaProducer {
  using Tile = TileOf<Traits>;
  const SharedStorage<Traits> &smem;
  const TileCoord<Traits> &coord;

  // What needs no memory.
  __device__ __forceinline__ void prepare() const {
    if (threadIdx.x < 32) {
      if (elect_one()) {
        prefetch_tensor_map(coord.args.k);
#pragma unroll
        for (int stage = 0; stage < Traits::kStages; ++stage) mbarrier_init(smem.full(stage), 1);
        fence_mbarrier_init();
      }
      __syncwarp();
    }
  }

  // The first stages, then Q, as keys take longest.
  __device__ __forceinline__ void begin() const {
#pragma unroll
    for (int stage = 0; stage < Traits::kStages; ++stage) load(stage, stage);
    copy_q(smem, coord);
    cp_async_wait<0>();
  }

  __device__ __forceinline__ void load(int step, int stage) const {
    if (step < coord.num_steps && threadIdx.x < 32 && elect_one()) ask(step, stage);
  }

  __device__ __forceinline__ void wait_for_next() const {}

  __device__ __forceinline__ void wait(int stage, unsigned parity) const { mbarrier_wait(smem.full(stage), parity); }

 private:
  // By one thread.
  __device__ __forceinline__ void ask(int step, int stage) const {
    const unsigned to = smem_address(smem.keys(stage)), barrier = smem.full(stage);
    mbarrier_arrive_expect_tx(barrier, Traits::kKeyBytes);
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel)
      tma_load(to + panel * Traits::kBlockN * Tile::kPanelRowBytes, coord.args.k,
               {panel * Tile::kPanelDims, coord.first_key(step), coord.kv_head, coord.bidb}, barrier);
  }
};

template <class Traits, bool kIsTma = Traits::kIsTma>
struct ProducerOf {
  using Type = CpAsyncProducer<Traits>;
};
template <class Traits>
struct ProducerOf<Traits, true> {
  using Type = TmaProducer<Traits>;
};

}  // namespace evoflash::latent
#endif
