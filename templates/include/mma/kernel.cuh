#pragma once

#include "mma/barriers.cuh"
#include "mma/epilogue.cuh"
#include "mma/epilogue_columns.cuh"
#include "mma/epilogue_rows.cuh"
#include "mma/fragments.cuh"
#include "mma/mainloop.cuh"
#include "mma/output_tile.cuh"
#include "mma/producer_cp_async.cuh"
#include "mma/producer_tma.cuh"
#include "mma/scheduler.cuh"
#include "programmatic_launch.cuh"

// The kernel's body.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits, bool kIsTma = Traits::kIsTma>
struct ProducerOf {
  using Type = CpAsyncProducer<Traits>;
};
template <class Traits>
struct ProducerOf<Traits, true> {
  using Type = TmaProducer<Traits>;
};

template <class Traits, bool kIsQInRegs = Traits::kIsQInRegs>
struct QOperandsOf {
  using Type = QInRegs<Traits>;
};
template <class Traits>
struct QOperandsOf<Traits, false> {
  using Type = QInSmem<Traits>;
};

// A sink is one more key, with a value of 0, that the first slice has seen before all others.
template <class Traits>
__device__ __forceinline__ void add_sink(Fragments<Traits> &fragments, const Arguments<Traits> &args,
                                         const WarpCoord<Traits> &coord, float softmax_scale_log2) {
  static_assert(Traits::kIsOnline, "a softmax over all keys at once begins anew");
  if (coord.split != 0 || coord.slice != 0) return;
  const float logit = args.problem.sinks[coord.bidh];
  const float score = kHasFullScores<Traits> ? logit : logit / args.problem.scale;  // not scaled yet
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m) fragments.softmax[m].begin_with_sink(score, softmax_scale_log2);
}

// A tile, or a block's split of it.
template <class Traits>
__device__ __forceinline__ void compute_tile(const Arguments<Traits> &all, unsigned char *smem, const TileCoord &tile,
                                             int split) {
  const Arguments<Traits> &args = sequence_of(all, tile.bidb);
  using Producer = typename ProducerOf<Traits>::Type;
  using QOperands = typename QOperandsOf<Traits>::Type;
  const WarpCoord<Traits> coord(args, tile, split);
  const SharedStorage<Traits> storage{smem};
  const KeyRange<Traits> keys(args, coord);
  const Producer producer{args, coord, keys, storage};
  if constexpr (SharedStorage<Traits>::kBarriers > 0) init_barriers(coord, storage, producer);
  if constexpr (Traits::kIsTma) {
    __syncthreads();  // all barriers have been made; the loads have been started with them
  } else {
    // Q, then the first stages.
    copy_rows<SmemTile<Traits::kHeadDim>, Traits::kBlockM, Traits::kBlockM, Traits::kNumThreads, Producer::kUnroll>(
        storage.q(), row_of(args.q, coord.bidb, coord.bidh, coord.first_row), args.q.row, threadIdx.x,
        Traits::kIsEvenM ? Traits::kBlockM : args.seq_q - coord.first_row);
    cp_async_commit();
    if constexpr (Traits::kIsOnline) {
#pragma unroll
      for (int n_block = 0; n_block < Traits::kStages; ++n_block) {
        if constexpr (!Traits::kWaitApart) {
          producer.copy_both(n_block, n_block);
        } else {
          producer.template copy<Operand::kK>(n_block, n_block);
          if (!Traits::kLoadValuesLate || n_block + 1 < Traits::kStages)
            producer.template copy<Operand::kV>(n_block, n_block);
        }
      }
    } else if constexpr (!Traits::kWaitApart) {
      producer.copy_both(0, 0);
    } else {
      producer.template copy<Operand::kK>(0, 0);
      if constexpr (!Traits::kLoadValuesLate) producer.template copy<Operand::kV>(0, 0);
    }
  }

  // The parameters of the epilogue are read now, while the loads are in flight: they come from memory, too.
  float softmax_scale_log2;
  const OutputTile<Traits> out(args, coord, softmax_scale_log2);

  producer.wait_q();
  const QOperands q(storage.q() + coord.warp_row * SmemTile<Traits::kHeadDim>::kPanelRowBytes);
  Fragments<Traits> fragments;
  if constexpr (Traits::kHasSinks) add_sink(fragments, args, coord, softmax_scale_log2);
  typename Epilogue<Traits>::MergeFragments merge;
  const Epilogue<Traits> epilogue{coord, storage};
  const Mainloop<Traits, Producer> mainloop{args, coord, keys, storage, producer, softmax_scale_log2};
  mainloop.run(fragments, q, epilogue);
  epilogue.store(fragments, merge, out);
}

template <class Traits>
__device__ __forceinline__ void invalidate_barriers(const SharedStorage<Traits> &storage) {
  using Storage = SharedStorage<Traits>;
  if (threadIdx.x < 32 && elect_one())
#pragma unroll
    for (int i = 0; i < Storage::kBarriers; ++i) mbarrier_inval(storage.barriers() + i * kMbarrierBytes);
}

// All tiles of a block: one, or as long as there are any.
template <class Traits>
__device__ __forceinline__ void compute_tiles(const Arguments<Traits> &args, unsigned char *smem) {
  if constexpr (Traits::kIsEarly) {
    wait_for_prerequisites();  // the kernel ahead may write what this one reads
    launch_dependents();
  }
  if constexpr (Traits::kIsPersistent) {
    for (int number = blockIdx.x; number < args.num_tiles; number += gridDim.x) {
      const TileCoord tile = tile_of_number<Traits>(args, number);
      if (!has_rows(args, tile)) continue;
      compute_tile<Traits>(args, smem, tile, 0);
      if constexpr (Traits::kIsTma) fence_proxy_async();  // TMA writes next where this block has read and written
      __syncthreads();
      if constexpr (SharedStorage<Traits>::kBarriers > 0) {
        invalidate_barriers(SharedStorage<Traits>{smem});
        __syncthreads();
      }
    }
  } else {
    const TileCoord tile = tile_of_block<Traits>();
    if (!has_rows(args, tile)) return;  // nor have the other blocks of the cluster
    compute_tile<Traits>(args, smem, tile, blockIdx.x % Traits::kNumSplits);
  }
}

}  // namespace evoflash::mma
#endif
