#pragma once

#include "decode/tile_coord.cuh"
#include "warp.cuh"

// Shares: how the keys of sequences of uneven lengths are spread over blocks.
//
// The steps of all tiles of a head follow each other, sequence after sequence. A share is as many consecutive steps as
// the others, so it may begin within a tile, have several, and end within one. Block (h, i) has the i-th share of head
// h: those of all heads go through the same keys at the same time, whose rows lie next to each other in memory. Only
// the lengths on the device say where a share begins, so each warp computes that by itself.
//
// A tile that lies within one share is finished by its block. Of another, each block keeps a partial output in one of
// two slots of its own: slot 0 for the tile in which the share begins, slot 1 for one that begins later in it.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// A tile, and where its steps lie among those of the head.
struct TilePlace {
  int tile, first, count;
};

template <class Traits>
struct Shares {
  const Arguments<Traits> &args;
  int total, size;  // steps of all tiles, and of a share

  // By all lanes of a warp.
  __device__ __forceinline__ explicit Shares(const Arguments<Traits> &args) : args(args) {
    int own = 0, longest = 0;
    for (int tile = threadIdx.x % 32; tile < args.num_tiles; tile += 32) {
      const int steps = steps_of(tile);
      own += steps;
      longest = max(longest, steps);
    }
    total = __reduce_add_sync(kAllLanes, own);
    longest = __reduce_max_sync(kAllLanes, longest);
    // Every warp has a step, and a tile is split into at most kMaxSplits parts.
    const int even = ceil_div(total, args.num_shares), least = ceil_div(longest, kMaxSplits - 2);
    size = max(max(even, least), Traits::kWarps);
  }

  __device__ __forceinline__ int steps_of(int tile) const {
    int m_block;
    const int bidb = args.num_m_blocks.divmod(m_block, tile);
    return TileKeys<Traits>(args, keys_of(args, bidb), m_block * Traits::kBlockM).num_steps;
  }

  // The tile that has a step, by all lanes of a warp.
  __device__ __forceinline__ TilePlace tile_of(int step) const {
    const int lane = threadIdx.x % 32;
    int before = 0;
    for (int first = 0; first < args.num_tiles; first += 32) {
      const int steps = first + lane < args.num_tiles ? steps_of(first + lane) : 0;
      int sum = steps;  // of the lanes up to this one
#pragma unroll
      for (int distance = 1; distance < 32; distance *= 2) {
        const int other = __shfl_up_sync(kAllLanes, sum, distance);
        if (lane >= distance) sum += other;
      }
      const unsigned behind = __ballot_sync(kAllLanes, before + sum > step);
      if (behind != 0) {
        const int found = __ffs(behind) - 1;
        const int count = __shfl_sync(kAllLanes, steps, found);
        return {first + found, before + __shfl_sync(kAllLanes, sum, found) - count, count};
      }
      before += __shfl_sync(kAllLanes, sum, 31);
    }
    return {args.num_tiles, before, 0};
  }

  // The place of a tile, by all lanes of a warp.
  __device__ __forceinline__ TilePlace place_of(int tile) const {
    int before = 0;
    for (int other = threadIdx.x % 32; other < tile; other += 32) before += steps_of(other);
    return {tile, __reduce_add_sync(kAllLanes, before), steps_of(tile)};
  }

  __device__ __forceinline__ int slot(int share, int kv_head, bool begins_in_it) const {
    return 2 * (share * args.kv_heads + kv_head) + begins_in_it;
  }

 private:
  __device__ __forceinline__ static int ceil_div(int a, int b) { return (a + b - 1) / b; }
};

// The segments of a block's share, one after the other.
template <class Traits>
struct ShareWalk {
  const Shares<Traits> shares;
  const int begin, end;  // steps
  TilePlace place;

  __device__ __forceinline__ explicit ShareWalk(const Arguments<Traits> &args)
      : shares(args),
        begin(blockIdx.y * shares.size),
        end(min(begin + shares.size, shares.total)),
        place(shares.tile_of(begin)) {}

  // Whether there is one, and where.
  __device__ __forceinline__ bool get(Segment &segment) {
    while (place.count == 0 && place.tile < shares.args.num_tiles) advance();
    if (place.first >= end) return false;
    const int first = max(begin - place.first, 0), last = min(end - place.first, place.count);
    const bool is_whole = first == 0 && last == place.count;
    segment = {place.tile, first, last, is_whole ? -1 : shares.slot(blockIdx.y, blockIdx.x, place.first > begin)};
    return true;
  }

  __device__ __forceinline__ void advance() {
    place.first += place.count;
    ++place.tile;
    place.count = place.tile < shares.args.num_tiles ? shares.steps_of(place.tile) : 0;
  }
};

}  // namespace evoflash::decode
#endif
