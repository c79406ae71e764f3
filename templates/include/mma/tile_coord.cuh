#pragma once

#include "mma/arguments.cuh"
#include "named_barrier.cuh"
#include "warp.cuh"

// Where a block and a warp stand in the problem.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

// A tile of rows of a head.
struct TileCoord {
  int m_block, bidh, bidb;
};

// Whether a tile has rows. The grid is as long as the longest of packed sequences. A block beyond the rows of a shorter
// one ends at once, which takes less than a list of the tiles with rows: lengths are known on the device alone, where a
// kernel ahead of this one would make it.
template <class Traits>
__device__ __forceinline__ bool has_rows(const Arguments<Traits> &args, const TileCoord &tile) {
  if constexpr (Traits::kIsPacked) {
    const int32_t *const starts = args.problem.q_starts + tile.bidb;
    return int64_t(tile.m_block) * Traits::kBlockM < starts[1] - starts[0];
  } else {
    return true;
  }
}

// The end of the keys that a row sees. Without a band every row sees key 0, as the causal mask is aligned to the top
// left.
template <class Traits>
__device__ __forceinline__ int visible_keys(const Arguments<Traits> &args, int row) {
  if constexpr (Traits::kIsBanded) {
    return end_key<Traits>(args.problem, row);
  } else if constexpr (Traits::kIsCausal) {
    return min(row + 1, int(args.seq_kv));
  } else {
    return args.seq_kv;
  }
}

// The first key that any row of the block sees, where that is not the first of all.
template <bool kIsBanded>
struct BandCoord {
  static constexpr int key_begin = 0;
};
template <>
struct BandCoord<true> {
  int key_begin;
};

// A warp's part of a tile: the rows of one of kWarpsM groups, and the keys of one of kWarpsN slices.
template <class Traits>
struct WarpCoord : BandCoord<Traits::kIsBanded> {
  int warp, lane, warp_m, slice;
  int bidh, bidb, bidh_kv, split;
  int first_row;  // of the block
  int warp_row;   // the warp's first row, from first_row on

  __device__ __forceinline__ WarpCoord(const Arguments<Traits> &args, const TileCoord &tile, int split) : split(split) {
    warp = __shfl_sync(kAllLanes, threadIdx.x / 32, 0);  // tells the compiler that it is the same in all lanes
    lane = threadIdx.x % 32;
    warp_m = warp % Traits::kWarpsM;
    slice = warp / Traits::kWarpsM;
    first_row = tile.m_block * Traits::kBlockM;
    warp_row = warp_m * Traits::kWarpM;
    bidh = tile.bidh;
    bidb = tile.bidb;
    if constexpr (Traits::kIsBanded) this->key_begin = step_begin<Traits>(args.problem, first_row);
    if constexpr (Traits::kHasFixedSizes) {
      bidh_kv = bidh / Traits::kHeadsPerKvHead;
    } else {
      bidh_kv = kv_head_of(bidh, args.group_inverse);
    }
  }

  // The first key of a slice in a step.
  __device__ int first_key(int of_slice, int n_block) const {
    return this->key_begin + n_block * Traits::kBlockN + (split * Traits::kWarpsN + of_slice) * Traits::kWarpN;
  }

  // The row of a lane's accumulators of a 16-row tile, in its upper or lower half; from first_row on.
  __device__ __forceinline__ int row_of_lane(int tile_m, int half) const {
    return warp_row + tile_m * 16 + half * 8 + lane / 4;
  }

  // Waits for all warps of the slice.
  __device__ __forceinline__ void sync_slice() const {
    if constexpr (Traits::kWarpsM == 1) {
      __syncwarp();
    } else {
      named_barrier_sync<Traits::kSliceThreads>(1 + slice);
    }
  }
};

// The first key that all rows of a warp see, in a band.
template <bool kIsBanded>
struct BandRange {
  int all_begin;
};
template <>
struct BandRange<false> {};

// The keys that rows of a tile see.
template <class Traits>
struct KeyRange : BandRange<Traits::kIsBanded> {
  int end;      // of the keys that any row of the block sees
  int all_end;  // of the keys that all rows of the warp see
  int any_end;  // of the keys that any row of the warp sees
  int num_steps;

  __device__ __forceinline__ KeyRange(const Arguments<Traits> &args, const WarpCoord<Traits> &coord) {
    const int warp_row = coord.first_row + coord.warp_row;
    end = visible_keys(args, coord.first_row + Traits::kBlockM - 1);
    all_end = visible_keys(args, warp_row);
    any_end = visible_keys(args, warp_row + Traits::kWarpM - 1);
    if constexpr (Traits::kIsBanded)
      this->all_begin = evoflash::first_key<Traits>(args.problem, warp_row + Traits::kWarpM - 1);
    num_steps = (end - coord.key_begin + Traits::kBlockN - 1) / Traits::kBlockN;
  }

  // The number of steps.
  __device__ __forceinline__ int n_block_max() const {
    if constexpr (!Traits::kIsOnline) {
      return 1;
    } else if constexpr (Traits::kHasFixedSizes && !Traits::kIsCausal && !Traits::kIsBanded) {
      return Traits::kNumSteps;
    } else {
      return num_steps;
    }
  }
};

}  // namespace evoflash::mma
#endif
