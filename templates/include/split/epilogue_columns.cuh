#pragma once

#include "cluster.cuh"
#include "merge_columns.cuh"
#include "split/gemm.cuh"
#include "split/storage.cuh"
#include "split/tile_coord.cuh"
#include "softmax.cuh"
#include "split/output_tile.cuh"

// Merges the partial outputs of a cluster's blocks by columns. Of its own columns, a warp keeps its part in registers.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

template <class Traits>
__device__ __forceinline__ void merge_columns(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord,
                                              const OutputTile<Traits> &out, float (&acc_o)[Traits::kTilesValue][4],
                                              const RowSoftmax<Traits> &softmax,
                                              POperand<Traits> (&p)[Traits::kParts]) {
  using Partials = PartialStorage<Traits>;
  using Exchange = typename Partials::Exchange;
  constexpr int kCluster = Traits::kCluster, kRowsPerLane = Traits::kRowsPerLane;
  const int rank = coord.rank;

  float factor[kRowsPerLane];  // of normalised partial outputs
  if constexpr (kIsNormalized<typename Traits::ElementPartial>) inverse_sums<Traits>(factor, softmax);

  // Statistics are sent ahead, while the last products are in flight.
  const unsigned partials = smem_address(smem.partials), stats = smem_address(smem.stats);
  cluster_wait();  // for the barriers of all blocks to be initialised, which they are by now
  if (coord.lane % 4 == 0)
#pragma unroll
    for (int other = 1; other < kCluster; ++other) {
      const int block = (rank + other) % kCluster;
#pragma unroll
      for (int half = 0; half < kRowsPerLane; ++half) {
        const int place =
            Exchange::sender_of(rank, block) * Traits::kBlockM + coord.warp_row + half * 8 + coord.lane / 4;
        store_remote(remote_address(stats + place * int(sizeof(float2)), block),
                     make_float2(softmax.offset[half], softmax.row_sum[half]), remote_address(smem.stats_full, block));
      }
    }
  if constexpr (!Traits::kIsOnline) wait_o<Traits>(acc_o, p);
  Exchange::template send<Partials::kSenderBytes>(acc_o, factor, rank, partials, smem.partials_full);

  float own_scale[kRowsPerLane], scale[kRowsPerLane][kCluster - 1];
  mbarrier_wait(smem.stats_full, 0);
#pragma unroll
  for (int half = 0; half < kRowsPerLane; ++half)
    Exchange::template scales<kHasBlindRows<Traits>>(
        own_scale[half], scale[half], make_float2(softmax.offset[half], softmax.row_sum[half]),
        smem.stats + coord.warp_row + half * 8 + coord.lane / 4, Traits::kBlockM);

  mbarrier_wait(smem.partials_full, 0);
  float result[kRowsPerLane][Exchange::kOwnTiles][2];
  Exchange::template merge<Partials::kSenderBytes>(result, acc_o, own_scale, scale, rank, smem.partials);
#pragma unroll
  for (int half = 0; half < kRowsPerLane; ++half) {
    const int row = coord.lane_row(half);
    unsigned char *const to =
        out.row_pointer(row) + rank * Exchange::kOwnTiles * kRowTileBytes<typename Traits::Element>;
    store_columns<Traits>(to, result[half], out.is_inside(row), Exchange::tiles_of(rank));
  }
}

}  // namespace evoflash::split
#endif
