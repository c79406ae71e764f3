#pragma once

#include "linear/raster.cuh"
#include "linear/split.cuh"
#include "linear_wgmma/arguments.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_wgmma {

// A unit of work as a block sees it: where its tile of the output starts, and which blocks of the sum it adds.
struct Unit {
  int row, column, split, first_k, k_blocks;
};

// All tiles of a part of the sum come before the next part's.
template <class Traits>
__device__ __forceinline__ Unit make_unit(const Arguments &args, int number, int rank) {
  const int tiles = args.m_tiles * args.n_tiles, split = Traits::kIsSplitK ? number / tiles : 0;
  const auto tile =
      linear::tile_at<Traits::kRaster, Traits::kGroup>(number - split * tiles, args.m_tiles, args.n_tiles);
  Unit unit;
  unit.row = (tile.m * Traits::kClusterM + rank / Traits::kClusterN) * Traits::kBlockM;
  unit.column = (tile.n * Traits::kClusterN + rank % Traits::kClusterN) * Traits::kBlockN;
  unit.split = split;
  const linear::Part part = linear::part_of<Traits::kNumSplits>(args.k_blocks, split);
  unit.first_k = part.first;
  unit.k_blocks = part.count;
  return unit;
}

// The n-th unit of a cluster; from args.units on there is none.
template <class Traits>
__device__ __forceinline__ int unit_number(int n) {
  const int first = int(blockIdx.x) / Traits::kCluster;
  return Traits::kIsPersistent ? first + n * (int(gridDim.x) / Traits::kCluster) : first;
}

}  // namespace evoflash::linear_wgmma
#endif
