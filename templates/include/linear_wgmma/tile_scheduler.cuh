#pragma once

#include "linear_wgmma/arguments.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_wgmma {

// A unit of work as a block sees it: where its tile of the output starts, and which blocks of the sum it adds.
struct Unit {
  int row, column, split, first_k, k_blocks;
};

// Units go through the tiles in bands of kGroup tiles, across a band before along it, so that those which run at the
// same time are nearly a square, and share what they read in the L2 cache. All tiles of a part of the sum come before
// the next part's.
template <class Traits>
__device__ __forceinline__ Unit make_unit(const Arguments &args, int number, int rank) {
  constexpr bool kIsAlongRows = Traits::kRaster == Raster::kAlongRows;
  const int tiles = args.m_tiles * args.n_tiles, split = Traits::kIsSplitK ? number / tiles : 0;
  const int tile = number - split * tiles;
  const int across = kIsAlongRows ? args.m_tiles : args.n_tiles, along = kIsAlongRows ? args.n_tiles : args.m_tiles;
  const int band = tile / (Traits::kGroup * along), within = tile - band * Traits::kGroup * along;
  const int width = min(Traits::kGroup, across - band * Traits::kGroup);
  const int place = within / width, lane = band * Traits::kGroup + within - place * width;
  const int m_tile = kIsAlongRows ? lane : place, n_tile = kIsAlongRows ? place : lane;

  Unit unit;
  unit.row = (m_tile * Traits::kClusterM + rank / Traits::kClusterN) * Traits::kBlockM;
  unit.column = (n_tile * Traits::kClusterN + rank % Traits::kClusterN) * Traits::kBlockN;
  unit.split = split;
  if constexpr (Traits::kIsSplitK) {
    // The first parts have a block more where they cannot be alike.
    const int share = args.k_blocks / Traits::kNumSplits, rest = args.k_blocks % Traits::kNumSplits;
    unit.first_k = split * share + min(split, rest);
    unit.k_blocks = share + (split < rest);
  } else {
    unit.first_k = 0;
    unit.k_blocks = args.k_blocks;
  }
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
