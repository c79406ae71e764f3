#pragma once

#include "linear/raster.cuh"
#include "linear/split.cuh"
#include "linear_mma/epilogue.cuh"
#include "linear_mma/mainloop.cuh"
#include "programmatic_launch.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_mma {

// The kernel. Blocks that add parts of the same sums follow each other, and so are a cluster where there is one.
template <class Traits>
__device__ __forceinline__ void compute_tile(unsigned char *smem, const Arguments &args) {
  if constexpr (Traits::kIsEarly) {
    wait_for_prerequisites();  // the kernel ahead may write what this one reads
    launch_dependents();
  }
  const int split = blockIdx.x % Traits::kNumSplits;
  const auto tile =
      linear::tile_at<Traits::kRaster, Traits::kGroup>(blockIdx.x / Traits::kNumSplits, args.m_tiles, args.n_tiles);
  const TileCoord coord = {tile.m * Traits::kBlockM, tile.n * Traits::kBlockN, split};
  const linear::Part part = linear::part_of<Traits::kNumSplits>(args.k_blocks, split);

  float acc[Traits::kTilesM][Traits::kTilesN][4] = {};
  multiply<Traits>(acc, smem, args, coord, part.first, part.count);
  if constexpr (Traits::kIsCluster) {
    merge_cluster<Traits>(acc, smem, args, coord);
  } else if constexpr (Traits::kHasPartials) {
    store_partials<Traits>(acc, args, coord);
  } else {
    store_output<Traits>(acc, args, coord);
  }
}

}  // namespace evoflash::linear_mma
#endif
