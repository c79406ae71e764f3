#pragma once

#include "cp_async.cuh"
#include "decode/pages.cuh"
#include "decode/storage.cuh"
#include "decode/tile_coord.cuh"
#include "elect.cuh"
#include "smem_tile.cuh"
#include "tma.cuh"

// Loads of a warp's own keys. Nothing but the warp itself waits for them.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

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

// By cp.async. K and V of a step are a group of copies each; beyond the last step groups are empty, so that the counts
// of the waits hold.
template <class Traits>
struct CpAsyncProducer {
  const Arguments<Traits> &args;
  const SharedStorage<Traits> &smem;
  const TileCoord<Traits> &coord;
  const WarpSteps &steps;
  const int warp, lane;
  using Pages = StepPages<Traits>;
  const unsigned char *const k = row_of(args.k, coord.bidb, coord.kv_head, 0);
  const unsigned char *const v = row_of(args.v, coord.bidb, coord.kv_head, 0);

  // Q, then the first stages.
  __device__ __forceinline__ void begin() const {
    Pages pages[Traits::kStages];
#pragma unroll
    for (int stage = 0; stage < Traits::kStages; ++stage) pages[stage] = Pages::of(coord, steps, stage);
    copy_q(smem, coord);
#pragma unroll
    for (int stage = 0; stage < Traits::kStages; ++stage) {
      load_k(stage, stage, pages[stage]);
      load_v(stage, stage, pages[stage]);
    }
  }

  __device__ __forceinline__ void load_k(int step, int stage, const Pages &pages) const {
    copy(smem.k(warp, stage), k, args.k, step, pages);
  }
  __device__ __forceinline__ void load_v(int step, int stage, const Pages &pages) const {
    copy(smem.v(warp, stage), v, args.v, step, pages);
  }

  __device__ __forceinline__ void wait_q() const { cp_async_wait<2 * Traits::kStages>(); }

  __device__ __forceinline__ void wait_k(int, unsigned) const { wait_oldest(); }
  __device__ __forceinline__ void wait_v(int, unsigned, int) const { wait_oldest(); }

  // Before the next segment of the block.
  __device__ __forceinline__ void end() const {}

 private:
  __device__ __forceinline__ void copy(unsigned char *to, const unsigned char *head, const Tensor &tensor, int step,
                                       const Pages &pages) const {
    const int row_units = tensor.row;
    if (step < steps.count) {
      const int key = steps.template first_key<Traits>(step);
      if constexpr (Traits::kIsPaged)
        copy_pages<Traits>(to, tensor, coord.kv_head, pages, key, lane, coord.some.end - key);
      else
        copy_rows<KvTileOf<Traits>, Traits::kWarpN, Traits::kWarpN, 32, 4>(to, head + int64_t(key) * row_units * 16,
                                                                           row_units, lane, coord.some.end - key);
    }
    cp_async_commit();
  }

  // There are 2 * kStages groups in flight whenever a warp waits.
  __device__ __forceinline__ void wait_oldest() const {
    cp_async_wait<2 * Traits::kStages - 1>();
    __syncwarp();
  }
};

// By TMA, which fills up with zeros what lies beyond the last key.
template <class Traits>
struct TmaProducer {
  using Tile = KvTileOf<Traits>;
  using Pages = StepPages<Traits>;

  // Beyond the last key of a sequence there may be others in its page, or NaN.
  static constexpr bool kHasTails = Traits::kHasLengths || Traits::kIsPaged;

  const Arguments<Traits> &args;
  const SharedStorage<Traits> &smem;
  const TileCoord<Traits> &coord;
  const WarpSteps &steps;
  const int warp, lane;

  // The first stages, then Q, as K and V take longest.
  __device__ __forceinline__ void begin() const {
    Pages pages[Traits::kStages];
#pragma unroll
    for (int stage = 0; stage < Traits::kStages; ++stage) pages[stage] = Pages::of(coord, steps, stage);
    if (elect_one()) {
      prefetch_tensor_map(args.k);
      prefetch_tensor_map(args.v);
#pragma unroll
      for (int stage = 0; stage < Traits::kStages; ++stage) {
        mbarrier_init(smem.k_full(warp, stage), 1);
        mbarrier_init(smem.v_full(warp, stage), 1);
      }
      fence_mbarrier_init();
    }
    __syncwarp();
    if constexpr (Traits::kIsPaged) {
#pragma unroll
      for (int stage = 0; stage < Traits::kStages; ++stage) {
        load_k(stage, stage, pages[stage]);
        load_v(stage, stage, pages[stage]);
      }
    } else if (elect_one()) {
#pragma unroll
      for (int stage = 0; stage < Traits::kStages; ++stage)
        if (stage < steps.count) {
          ask(smem.k(warp, stage), args.k, stage, smem.k_full(warp, stage));
          ask(smem.v(warp, stage), args.v, stage, smem.v_full(warp, stage));
        }
    }
    __syncwarp();
    copy_q(smem, coord);
  }

  __device__ __forceinline__ void load_k(int step, int stage, const Pages &pages) const {
    load(smem.k(warp, stage), args.k, step, smem.k_full(warp, stage), pages);
  }
  __device__ __forceinline__ void load_v(int step, int stage, const Pages &pages) const {
    load(smem.v(warp, stage), args.v, step, smem.v_full(warp, stage), pages);
  }

  __device__ __forceinline__ void wait_q() const { cp_async_wait<0>(); }

  __device__ __forceinline__ void wait_k(int stage, unsigned parity) const {
    mbarrier_wait(smem.k_full(warp, stage), parity);
  }
  // Weights of 0 must not meet NaN, so the rows of values beyond the last key become zeros.
  __device__ __forceinline__ void wait_v(int stage, unsigned parity, int first_key) const {
    mbarrier_wait(smem.v_full(warp, stage), parity);
    if constexpr (kHasTails) {
      const int limit = coord.some.end - first_key;
      if (limit >= Traits::kWarpN) return;
      constexpr int kPanelUnits = Tile::kPanelUnits;
      unsigned char *const tile = smem.v(warp, stage) + limit * Tile::kPanelRowBytes;
      for (int i = lane; i < (Traits::kWarpN - limit) * kPanelUnits; i += 32)
#pragma unroll
        for (int panel = 0; panel < Tile::kPanels; ++panel)
          *reinterpret_cast<uint4 *>(tile + panel * Traits::kWarpN * Tile::kPanelRowBytes + i * 16) =
              make_uint4(0, 0, 0, 0);
      __syncwarp();
    }
  }

  // Before the next segment of the block: its barriers begin anew, and TMA writes where all threads have written.
  __device__ __forceinline__ void end() const {
    fence_proxy_async();
    if (elect_one())
#pragma unroll
      for (int stage = 0; stage < Traits::kStages; ++stage) {
        mbarrier_inval(smem.k_full(warp, stage));
        mbarrier_inval(smem.v_full(warp, stage));
      }
    __syncwarp();
  }

 private:
  __device__ __forceinline__ void load(unsigned char *to, const TensorMap &map, int step, unsigned barrier,
                                       const Pages &pages) const {
    if constexpr (Traits::kIsPaged) {
      if (step < steps.count) ask_pages(to, map, step, barrier, pages);
    } else {
      if (step < steps.count && elect_one()) ask(to, map, step, barrier);
    }
  }

  // By all lanes. What no row sees is left out.
  __device__ __forceinline__ void ask_pages(unsigned char *to, const TensorMap &map, int step, unsigned barrier,
                                            const Pages &pages) const {
    constexpr int kRows = Traits::kPageRows;
    const int key = steps.template first_key<Traits>(step);
    const int count = min((coord.some.end - key + kRows - 1) / kRows, Traits::kStepPages);
    const bool is_elected = elect_one();
    if (is_elected) mbarrier_arrive_expect_tx(barrier, count * kRows * Traits::kKvRowBytes);
#pragma unroll 4
    for (int i = 0; i < count; ++i) {
      const int page = pages.at(i);
      if (is_elected)
#pragma unroll
        for (int panel = 0; panel < Tile::kPanels; ++panel)
          tma_load(smem_address(to) + (panel * Traits::kWarpN + i * kRows) * Tile::kPanelRowBytes, map,
                   {panel * Tile::kPanelDims, key % Traits::kPageSize, coord.kv_head, page}, barrier);
    }
    __syncwarp();
  }

  // By one thread.
  __device__ __forceinline__ void ask(unsigned char *to, const TensorMap &map, int step, unsigned barrier) const {
    mbarrier_arrive_expect_tx(barrier, Traits::kKvBytes);
    const int key = steps.template first_key<Traits>(step);
#pragma unroll
    for (int panel = 0; panel < Tile::kPanels; ++panel)
      tma_load(smem_address(to) + panel * Traits::kWarpN * Tile::kPanelRowBytes, map,
               {panel * Tile::kPanelDims, key, coord.kv_head, coord.bidb}, barrier);
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

}  // namespace evoflash::decode
#endif
