#pragma once

#include "mma/tile_coord.cuh"

// Which tile a block works on.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

// The block's only tile; blocks of the same rows follow each other along x.
template <class Traits>
__device__ __forceinline__ TileCoord tile_of_block() {
  if constexpr (Traits::kLongestFirst) {
    // The last rows see the most keys: their blocks go first, of all heads.
    return {int(gridDim.y - 1 - blockIdx.y), int(blockIdx.x / Traits::kNumSplits), int(blockIdx.z)};
  } else {
    return {int(blockIdx.x / Traits::kNumSplits), int(blockIdx.y), int(blockIdx.z)};
  }
}

// A tile of a persistent block, by its number.
template <class Traits>
__device__ __forceinline__ TileCoord tile_of_number(const Arguments<Traits> &args, int number) {
  if constexpr (Traits::kLongestFirst) {
    // The last rows see the most keys: they go first, of all heads.
    const int all_heads = args.num_tiles / args.num_m_blocks, head = number % all_heads;
    return {args.num_m_blocks - 1 - number / all_heads, head % args.num_heads, head / args.num_heads};
  } else {
    const int head = number / args.num_m_blocks;
    return {number % args.num_m_blocks, head % args.num_heads, head / args.num_heads};
  }
}

}  // namespace evoflash::mma
#endif
