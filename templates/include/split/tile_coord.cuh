#pragma once

#include "split/arguments.cuh"
#include "split/kernel_traits.cuh"
#include "warp.cuh"

// What a block, and each of its warps, computes.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

// The first key of a split in a step. All splits share a step's keys.
template <class Traits, bool kIsBanded = Traits::kIsBanded>
struct KeyCoord {
  __device__ __forceinline__ static int first_key(int split, int n_block) {
    return (n_block * Traits::kNumSplits + split) * Traits::kBlockN;
  }
};
template <class Traits>
struct KeyCoord<Traits, true> {
  int key_begin;  // no row of the tile sees the keys before

  __device__ __forceinline__ int first_key(int split, int n_block) const {
    return key_begin + KeyCoord<Traits, false>::first_key(split, n_block);
  }
};

template <class Traits>
struct TileCoord : KeyCoord<Traits> {
  // The block: a tile of rows of a head, and some splits of its keys.
  int m_block, bidh, bidb;
  int rank;  // in the cluster

  // The warp: some of the tile's rows, and one of the splits.
  int warp, lane;
  int block_split;  // among the block's splits
  int split;        // among all

  int first_row;  // of the tile
  int warp_row;   // the warp's first, within the tile
  int kv_head;

  int key_end;   // no row of the tile sees the keys from here on
  int n_blocks;  // steps up to there

  __device__ __forceinline__ explicit TileCoord(const Arguments<Traits> &args) {
    constexpr int kCluster = Traits::kCluster;
    if constexpr (Traits::kIsLongestFirst) {
      m_block = int(gridDim.x / kCluster) - 1 - int(blockIdx.x / kCluster);
    } else {
      m_block = blockIdx.x / kCluster;
    }
    bidh = blockIdx.y;
    bidb = blockIdx.z;
    rank = blockIdx.x % kCluster;
    warp = __shfl_sync(kAllLanes, threadIdx.x / 32, 0);  // tells the compiler that all lanes have the same
    lane = threadIdx.x % 32;
    block_split = warp / Traits::kSplitWarps;
    split = rank * Traits::kSplitsPerBlock + block_split;
    first_row = m_block * Traits::kBlockM;
    warp_row = warp % Traits::kSplitWarps * Traits::kWarpM;
    kv_head = kv_head_of(args, bidh);
    key_end = visible_keys(args, first_row + Traits::kBlockM - 1);
    if constexpr (Traits::kIsBanded) {
      this->key_begin = step_begin<Traits>(args.problem, first_row);
      n_blocks = (key_end - this->key_begin + Traits::kStepKeys - 1) / Traits::kStepKeys;
    } else {
      n_blocks = (key_end + Traits::kStepKeys - 1) / Traits::kStepKeys;
    }
  }

  // The lane's first or second row within the tile.
  __device__ __forceinline__ int lane_row(int half) const { return warp_row + half * 8 + lane / 4; }
};

}  // namespace evoflash::split
#endif
