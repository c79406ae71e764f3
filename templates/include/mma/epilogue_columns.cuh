#pragma once

#include "cluster.cuh"
#include "mma/epilogue.cuh"

// The end of a tile whose slices lie in the blocks of a cluster, one in each: a block merges its columns of all rows,
// of which a warp keeps its own part in registers.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits>
struct Epilogue<Traits, Merge::kClusterColumns> {
  using Partials = typename SharedStorage<Traits>::Partials;
  using Exchange = typename Partials::Exchange;
  static constexpr int kNumSplits = Traits::kNumSplits;

  // What merging holds in registers.
  struct MergeFragments {
    float columns[2][Exchange::kOwnTiles][2];         // of a lane's two rows
    float scale[Traits::kTilesM][2][kNumSplits - 1];  // of the other blocks' partial outputs, row by row
    float own_scale[Traits::kTilesM][2];              // of this block's
    float factor[Traits::kTilesM][2];                 // by which it is multiplied before it is sent
  };

  const WarpCoord<Traits> &coord;
  const SharedStorage<Traits> &storage;

  // Sends the rows' (offset, row_sum) to all other blocks, ahead of the output.
  __device__ __forceinline__ void send_stats(Fragments<Traits> &fragments) const {
    cluster_wait();  // long since over: all barriers of the cluster have been made
    float2 *const stats = storage.stats();
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        fragments.softmax[m].row_sum[half] = warp_reduce_sum<4>(fragments.softmax[m].row_sum[half]);
        if (coord.lane % 4 == 0)
#pragma unroll
          for (int other = 1; other < kNumSplits; ++other) {
            const int block = (coord.split + other) % kNumSplits, row = coord.row_of_lane(m, half);
            float2 *const place = stats + Exchange::sender_of(coord.split, block) * Traits::kBlockM + row;
            store_remote(remote_address(smem_address(place), block),
                         make_float2(fragments.softmax[m].offset[half], fragments.softmax[m].row_sum[half]),
                         remote_address(storage.stats_barrier(), block));
          }
      }
  }

  __device__ __forceinline__ void store(const Fragments<Traits> &fragments, MergeFragments &merge,
                                        const OutputTile<Traits> &out) const {
    const unsigned char *const partials = storage.partials();
    if constexpr (kIsNormalized<typename Traits::ElementPartial>) {
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) merge.factor[m][half] = inverse_sum(fragments.softmax[m].row_sum[half]);
    }
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
      Exchange::template send<Partials::kSenderBytes>(fragments.acc_o[m], merge.factor[m], coord.split,
                                                      smem_address(partials) + m * Exchange::kTileBytes,
                                                      storage.partials_barrier());

    mbarrier_wait(storage.stats_barrier(), 0);
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = coord.row_of_lane(m, half);
        const float2 total = Exchange::template scales<kHasBlindRows<Traits>>(
            merge.own_scale[m][half], merge.scale[m][half],
            make_float2(fragments.softmax[m].offset[half], fragments.softmax[m].row_sum[half]), storage.stats() + row,
            Traits::kBlockM);
        if (Traits::kStoresLse && coord.split == 0 && coord.lane % 4 == 0 && (Traits::kIsEvenM || row < out.rows_left))
          out.store_lse(row, total);
      }
    mbarrier_wait(storage.partials_barrier(), 0);
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m) {
      Exchange::template merge<Partials::kSenderBytes>(merge.columns, fragments.acc_o[m], merge.own_scale[m],
                                                       merge.scale[m], coord.split,
                                                       partials + m * Exchange::kTileBytes);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = coord.row_of_lane(m, half);
        out.store(row, coord.split * Exchange::kOwnTiles, merge.columns[half], Traits::kIsEvenM || row < out.rows_left);
      }
    }
  }
};

}  // namespace evoflash::mma
#endif
