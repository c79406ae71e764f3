#pragma once

#include "decode/arguments.cuh"
#include "decode/head_scales.cuh"
#include "decode/kernel_traits.cuh"

// Which rows and keys a block has.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// Keys from `begin` to `end` - 1, which may be none.
struct KeyRange {
  int begin, end;
};

// How many keys a sequence has.
template <class Traits>
__device__ __forceinline__ int keys_of(const Arguments<Traits> &args, int bidb) {
  if constexpr (Traits::kHasLengths) {
    return args.lengths[bidb];
  } else {
    return args.seq_kv;
  }
}

// The keys that a query token of a sequence of num_keys keys sees. Neither end is before that of the token ahead of it.
template <class Traits>
__device__ __forceinline__ KeyRange visible_keys(const Arguments<Traits> &args, int num_keys, int token) {
  if constexpr (Traits::kIsBanded && Traits::kHasLengths) {
    AttentionProblem own = args.problem;
    own.seq_kv = num_keys;
    own.diagonal = num_keys - own.seq_q;
    return {first_key<Traits>(own, token), end_key<Traits>(own, token)};
  } else if constexpr (Traits::kIsBanded) {
    return {first_key<Traits>(args.problem, token), end_key<Traits>(args.problem, token)};
  } else if constexpr (Traits::kIsCausal) {
    return {0, min(token + 1, num_keys)};
  } else {
    return {0, num_keys};
  }
}

// The keys that the rows of a tile see. Keys are counted in steps of kWarpN.
template <class Traits>
struct TileKeys {
  KeyRange some, all;         // that some row sees, and that every row sees
  int first_step, num_steps;  // that hold the former

  __device__ __forceinline__ TileKeys(const Arguments<Traits> &args, int num_keys, int first_row) {
    const int last_row = min(first_row + Traits::kBlockM, args.num_rows) - 1;
    const KeyRange of_first = visible_keys(args, num_keys, args.group.divide(first_row));
    const KeyRange of_last = visible_keys(args, num_keys, args.group.divide(last_row));
    some = {of_first.begin, of_last.end};
    all = {of_last.begin, of_first.end};
    first_step = some.begin / Traits::kWarpN;
    num_steps = (some.end - 1) / Traits::kWarpN + 1 - first_step;
    if ((Traits::kIsBanded || Traits::kHasLengths) && some.end <= some.begin) num_steps = 0;
  }
};

// A part of the keys of a tile of rows, of a head over all sequences: steps from `begin` to `end` - 1.
struct Segment {
  int tile, begin, end;
  int slot;  // for its partial output; -1 if these are all steps
};

// A tile of rows of a key-value head, and the block's part of its keys. Keys are counted in steps of kWarpN.
template <class Traits>
struct TileCoord {
  const Arguments<Traits> &args;
  int bidb, kv_head, first_row;
  const HeadScales<Traits> scales;
  int split, rank;  // of the grid, or the segment's slot; in the cluster
  int part;         // of the keys
  int num_keys;     // of the sequence
  KeyRange some, all;
  int first_step, num_steps;

  // Blocks of a split are neighbours, so that tiles of rows read the same keys at the same time.
  __device__ __forceinline__ explicit TileCoord(const Arguments<Traits> &args)
      : args(args), bidb(blockIdx.z), kv_head(blockIdx.y), scales(args, kv_head) {
    int m_block;
    split = args.num_m_blocks.divmod(m_block, blockIdx.x / Traits::kCluster);
    rank = blockIdx.x % Traits::kCluster;
    part = split * Traits::kCluster + rank;
    first_row = m_block * Traits::kBlockM;
    num_keys = keys_of(args, bidb);
    const TileKeys<Traits> keys(args, num_keys, first_row);
    some = keys.some, all = keys.all;
    first_step = keys.first_step, num_steps = keys.num_steps;
  }

  // Of a block that has shares.
  __device__ __forceinline__ TileCoord(const Arguments<Traits> &args, const Segment &segment)
      : args(args), kv_head(blockIdx.x), scales(args, kv_head), split(segment.slot), rank(0), part(0) {
    int m_block;
    bidb = args.num_m_blocks.divmod(m_block, segment.tile);
    first_row = m_block * Traits::kBlockM;
    num_keys = keys_of(args, bidb);
    const TileKeys<Traits> keys(args, num_keys, first_row);
    some = keys.some, all = keys.all;
    first_step = keys.first_step + segment.begin, num_steps = segment.end - segment.begin;
  }

  __device__ __forceinline__ bool has_row(int row) const { return first_row + row < args.num_rows; }

  // A row of the tile in Q or the output.
  __device__ __forceinline__ unsigned char *row_pointer(const Tensor &tensor, int row) const {
    int head;
    const int token = args.group.divmod(head, first_row + row);
    return row_of(tensor, bidb, kv_head * args.group.divisor + head, token);
  }

  // The row's number among all rows of the problem.
  __device__ __forceinline__ int64_t row_number(int row) const {
    return (int64_t(bidb) * gridDim.y + kv_head) * args.num_rows + first_row + row;
  }
};

// The steps of a warp: either its part's steps follow each other, and the warps of a block take turns; or all warps of
// all parts take turns.
struct WarpSteps {
  int count, first, stride;

  template <class Traits>
  __device__ __forceinline__ static WarpSteps of(const TileCoord<Traits> &coord, int warp) {
    constexpr int kWarps = Traits::kWarps;
    if constexpr (Traits::kIsShared)
      return {max(0, coord.num_steps - warp + kWarps - 1) / kWarps, coord.first_step + warp, kWarps};
    const FastDivmod &parts = coord.args.num_parts;
    if constexpr (Traits::kTakesTurns) {
      const int first = coord.part * kWarps + warp, rest = coord.num_steps - first - 1;
      return {rest < 0 ? 0 : parts.divide(rest / kWarps) + 1, coord.first_step + first, kWarps * parts.divisor};
    } else {
      // Parts differ by one step at most.
      int longer_parts;
      const int shorter = parts.divmod(longer_parts, coord.num_steps);
      const int length = shorter + (coord.part < longer_parts ? 1 : 0);
      const int first = coord.first_step + coord.part * shorter + min(coord.part, longer_parts);
      return {max(0, length - warp + kWarps - 1) / kWarps, first + warp, kWarps};
    }
  }

  template <class Traits>
  __device__ __forceinline__ int first_key(int step) const {
    return (first + step * stride) * Traits::kWarpN;
  }
};

}  // namespace evoflash::decode
#endif
