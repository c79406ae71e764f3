#pragma once

#include "hopper/arguments.cuh"
#include "hopper/storage.cuh"
#include "smem_address.cuh"
#include "warp.cuh"

// Which tiles a cluster, or a block without one, computes. None is left when a number is not below num_tiles.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

// Schedule::kTiles: the only tile.
template <class Traits>
__device__ __forceinline__ int only_tile(const Arguments<Traits> &args) {
  if constexpr (Traits::kOrder == TileOrder::kFolded) {
    // Every other round over the multiprocessors runs backwards. Who starts with the longest tile ends with the
    // shortest.
    constexpr int kRound = Traits::kRound;
    const int own = blockIdx.x / Traits::kCluster, begin = own / kRound * kRound;
    const int end = min(begin + kRound, args.num_tiles);
    return own / kRound % 2 == 0 ? own : begin + end - 1 - own;
  } else {
    return int(blockIdx.x) / Traits::kCluster;
  }
}

// Schedule::kPersistent: the n-th tile. Every other round runs backwards if tiles differ in their number of keys, so
// that nobody always gets the longest.
template <class Traits>
__device__ __forceinline__ int static_tile(int n) {
  const int all = gridDim.x / Traits::kCluster, own = blockIdx.x / Traits::kCluster;
  if constexpr (Traits::kIsSectioned) {
    return n * all + (n % 2 == 0 ? own : all - 1 - own);
  } else {
    return n * all + own;
  }
}

// Schedule::kDynamic: the thread that loads draws tiles, and publishes the n-th to the warps that compute.
template <class Traits>
__device__ __forceinline__ void publish_tile(const SharedStorage<Traits> &smem, int n, int tile) {
  mbarrier_wait(smem.tile_empty(n % 2), n / 2 % 2 ^ 1);
  store_shared(smem.tile(n % 2), tile);
  mbarrier_arrive(smem.tile_full(n % 2));
}

// One lane reads it for its warp.
template <class Traits>
__device__ __forceinline__ int published_tile(const SharedStorage<Traits> &smem, int n) {
  int tile = 0;
  if (threadIdx.x % 32 == 0) {
    mbarrier_wait(smem.tile_full(n % 2), n / 2 % 2);
    tile = load_shared(smem.tile(n % 2));
    mbarrier_arrive(smem.tile_empty(n % 2));
  }
  return __shfl_sync(kAllLanes, tile, 0);
}

// The n-th tile, as the warps that compute learn of it.
template <class Traits>
__device__ __forceinline__ int consumer_tile(const SharedStorage<Traits> &smem, int n) {
  if constexpr (Traits::kIsDynamic) {
    return published_tile(smem, n);
  } else {
    return static_tile<Traits>(n);
  }
}

}  // namespace evoflash::hopper
#endif
