#pragma once

#include "hopper/arguments.cuh"
#include "hopper/kernel_traits.cuh"

// Where a tile lies in the problem, and the keys that it sees.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

// The keys of a split of a tile. Without split-KV and a band, a tile starts at key 0.
template <bool kIsSplitKv, bool kSplitsRest, bool kIsBanded>
struct KeyCoord {
  static constexpr int first_key = 0;
};
template <>
struct KeyCoord<false, false, true> {
  int first_key;
};
template <bool kIsBanded>
struct KeyCoord<true, false, kIsBanded> {
  int split, first_key, max_n_blocks;
};
template <>
struct KeyCoord<true, true, false> {
  static constexpr int kIsWhole = -(1 << 30), kAllBlocks = 0x7fffffff;

  int split, first_key, max_n_blocks;
  int first_partial;  // where its rows begin in a split's partial output; negative for a tile that is not split
};

// A tile of rows of a head, or of a group of heads.
template <class Traits>
struct TileCoord : KeyCoord<Traits::kIsSplitKv, Traits::kSplitsRest, Traits::kIsBanded> {
  int first_row, bidh, bidb;
};

// A warpgroup's own rows and head.
template <class Traits>
__device__ __forceinline__ TileCoord<Traits> coord_of_warpgroup(TileCoord<Traits> coord, int warpgroup, int rank) {
  const int number = Traits::kIsCluster ? rank * Traits::kNumWarpgroups + warpgroup : warpgroup;
  if constexpr (Traits::kSplitsRest) coord.first_partial += number * Traits::kWarpgroupM;
  if constexpr (Traits::kSharesHeads) {
    coord.bidh += number;
  } else {
    coord.first_row += number * Traits::kWarpgroupM;
  }
  return coord;
}

// Whether a warpgroup has none of the head's rows.
template <class Traits>
__device__ __forceinline__ bool is_idle(const Arguments<Traits> &args, const TileCoord<Traits> &own) {
  if constexpr (Traits::kEdge == TileEdge::kFirst) {
    return own.first_row < 0;
  } else {
    return own.first_row >= args.seq_q;
  }
}

// The end of the keys that a row sees. Without a band every row sees key 0, as the causal mask is aligned to the top
// left.
template <class Traits>
__device__ __forceinline__ int visible_keys(const Arguments<Traits> &args, int row) {
  if constexpr (Traits::kIsBanded) {
    return end_key<Traits>(args.problem, row);
  } else if constexpr (Traits::kIsCausal) {
    return min(row + 1, args.seq_kv);
  } else {
    return args.seq_kv;
  }
}

// The end of the keys that some row before this one sees. Rows beyond the last one see what the last one sees.
template <class Traits>
__device__ __forceinline__ int visible_keys_before(const Arguments<Traits> &args, int row) {
  return visible_keys(args, min(row, args.seq_q) - 1);
}

// The number of steps over the keys that some row before this one sees. With split-KV or a band it is at least 1: the
// rows may see none of the keys, and a step costs less than an exception.
template <class Traits>
__device__ __forceinline__ int n_blocks_before(const Arguments<Traits> &args, const TileCoord<Traits> &coord, int row) {
  constexpr int kBlockN = Traits::kBlockN;
  if constexpr (Traits::kIsSplitKv) {
    const int n_blocks = (visible_keys_before(args, row) - coord.first_key + kBlockN - 1) / kBlockN;
    return max(1, min(n_blocks, coord.max_n_blocks));
  } else if constexpr (Traits::kIsBanded) {
    return max(1, (visible_keys_before(args, row) - coord.first_key + kBlockN - 1) / kBlockN);
  } else {
    return (visible_keys_before(args, row) + kBlockN - 1) / kBlockN;
  }
}

// The number of the tile's steps that end before the first key that rows from this one on see. One of the n_blocks
// steps up to what they see is left.
template <class Traits>
__device__ __forceinline__ int n_blocks_hidden(const Arguments<Traits> &args, const TileCoord<Traits> &coord, int row,
                                               int n_blocks) {
  return max(0, min((step_begin<Traits>(args.problem, row) - coord.first_key) / Traits::kBlockN, n_blocks - 1));
}

// A group of heads, counted over all batches, and which of its tiles it is from the last one on.
struct PlaceInSections {
  int group, nth;
};

// Of a tile of sections of heads that follow each other, so that the keys and values of each stay in the L2 cache
// meanwhile. Within a section the last rows, which see the most keys, come first.
__device__ __forceinline__ PlaceInSections place_in_sections(const FastDivmod &section, const FastDivmod &section_tiles,
                                                             int tile) {
  const int number = section_tiles.divide(tile), within = tile - number * section_tiles.divisor;
  const int nth = section.divide(within);
  return {number * section.divisor + within - nth * section.divisor, nth};
}

template <class Traits>
__device__ __forceinline__ PlaceInSections place_in_sections(const Arguments<Traits> &args, int tile) {
  if constexpr (Traits::kIsShortLast) {
    if (tile >= args.long_tiles) {
      PlaceInSections place = place_in_sections(args.short_section, args.short_section_tiles, tile - args.long_tiles);
      place.nth += args.m_blocks.divisor - args.short_section_tiles.divisor / args.short_section.divisor;
      return place;
    }
  }
  return place_in_sections(args.section, args.section_tiles, tile);
}

template <class Traits>
__device__ __forceinline__ TileCoord<Traits> make_tile_coord(const Arguments<Traits> &args, int tile) {
  TileCoord<Traits> coord;
  if constexpr (Traits::kSplitsRest) {
    const int rest = tile - args.whole_tiles;
    coord.split = 0;
    coord.first_partial = coord.kIsWhole;
    if (rest >= 0) {
      coord.split = rest % Traits::kNumSplits;
      coord.first_partial = rest / Traits::kNumSplits * Traits::kTileRows;
      tile = args.whole_tiles + rest / Traits::kNumSplits;
    }
  } else if constexpr (Traits::kIsSplitKv) {
    coord.split = tile % Traits::kNumSplits;
    tile /= Traits::kNumSplits;
  }
  int group;  // of heads, counted over all batches
  if constexpr (Traits::kIsSectioned) {
    const PlaceInSections place = place_in_sections(args, tile);
    group = place.group;
    coord.bidb = args.heads.divide(group);
    coord.first_row = (args.m_blocks.divisor - 1 - place.nth) * Traits::kTileM;
  } else {
    group = args.m_blocks.divide(tile);
    coord.bidb = args.heads.divide(group);
    coord.first_row = (tile - group * args.m_blocks.divisor) * Traits::kTileM;
  }
  if constexpr (Traits::kEdge == TileEdge::kFirst) {
    // The last tile ends with the last warpgroup that has rows. A warpgroup's rows begin with the head's or within it,
    // as TMA stores no box that begins before it, or there are none.
    constexpr int kWarpgroupM = Traits::kWarpgroupM;
    const int warpgroups = (args.seq_q + kWarpgroupM - 1) / kWarpgroupM;
    coord.first_row -= args.m_blocks.divisor * Traits::kTileM - warpgroups * kWarpgroupM;
  }
  if constexpr (Traits::kIsBanded) coord.first_key = step_begin<Traits>(args.problem, coord.first_row);
  if constexpr (Traits::kIsSplitKv) {
    constexpr int kKeys = Traits::kBlockN * Traits::kNumSplits;
    int end = visible_keys_before(args, coord.first_row + Traits::kTileM);
    if constexpr (Traits::kIsBanded) end = max(0, end - coord.first_key);
    coord.max_n_blocks = (end + kKeys - 1) / kKeys;
    if constexpr (Traits::kSplitsRest)
      if (coord.first_partial < 0) coord.max_n_blocks = coord.kAllBlocks;
  }
  coord.bidh = (group - coord.bidb * args.heads.divisor) * Traits::kTileHeads;
  if constexpr (Traits::kIsSplitKv) {
    const int keys_before = coord.split * coord.max_n_blocks * Traits::kBlockN;
    if constexpr (Traits::kIsBanded) {
      coord.first_key += keys_before;
    } else {
      coord.first_key = keys_before;
    }
  }
  return coord;
}

}  // namespace evoflash::hopper
#endif
