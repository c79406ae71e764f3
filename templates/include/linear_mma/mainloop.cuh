#pragma once

#include "linear_mma/producer.cuh"
#include "mma_sync.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_mma {

// Multiplies a stage of x with one of the weight.
template <class Traits>
__device__ __forceinline__ void multiply_stage(Accumulators<Traits> &acc, const unsigned char *x,
                                               const unsigned char *weight, int warp_row, int warp_column) {
  using Tile = SmemTile<Traits::kBlockK>;
  const auto x_lane = LdmatrixLane<Tile>::top_down(), weight_lane = LdmatrixLane<Tile>::left_right();
#pragma unroll
  for (int k = 0; k < Traits::kStepsK; ++k) {
    unsigned a[Traits::kTilesM][4], b[Traits::kTilesN / 2][4];
#pragma unroll
    for (int i = 0; i < Traits::kTilesM; ++i)
      ldmatrix_x4(a[i], x + x_lane.template at<Traits::kBlockM>(warp_row + 16 * i, k));
#pragma unroll
    for (int j = 0; j < Traits::kTilesN / 2; ++j)
      ldmatrix_x4(b[j], weight + weight_lane.template at<Traits::kBlockN>(warp_column + 16 * j, k));
#pragma unroll
    for (int i = 0; i < Traits::kTilesM; ++i)
#pragma unroll
      for (int j = 0; j < Traits::kTilesN; ++j)
        mma_m16n8k16<typename Traits::Element>(acc[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
  }
}

// The block's part of the sums. A stage is loaded kStages - 1 steps before it is multiplied.
template <class Traits>
__device__ __forceinline__ void multiply(Accumulators<Traits> &acc, unsigned char *smem, const Arguments &args,
                                         const TileCoord &coord, int first_block, int num_blocks) {
  constexpr int kStages = Traits::kStages;
  const RowCopies<Traits, Traits::kBlockM> x(args.x, coord.row, args.m);
  const RowCopies<Traits, Traits::kBlockN> weight(args.weight, coord.column, args.n);
  const auto load_stage = [&](int block) {
    if (block < num_blocks) {
      unsigned char *const stage = smem + block % kStages * Traits::kStageBytes;
      const int k = (first_block + block) * Traits::kBlockK;
      x.copy(stage, k, args.k);
      weight.copy(stage + Traits::kXBytes, k, args.k);
    }
    cp_async_commit();  // an empty group, too: groups are counted
  };

  const int warp = threadIdx.x / 32;
  const int warp_row = warp / Traits::kWarpsN * Traits::kWarpM, warp_column = warp % Traits::kWarpsN * Traits::kWarpN;
#pragma unroll
  for (int block = 0; block < kStages - 1; ++block) load_stage(block);
  for (int block = 0; block < num_blocks; ++block) {
    cp_async_wait<kStages - 2>();
    __syncthreads();  // the stage has come, and all have read the one before, which is filled again
    load_stage(block + kStages - 1);
    const unsigned char *const stage = smem + block % kStages * Traits::kStageBytes;
    multiply_stage<Traits>(acc, stage, stage + Traits::kXBytes, warp_row, warp_column);
  }
}

}  // namespace evoflash::linear_mma
#endif
