#pragma once

#include "decode/arguments.cuh"
#include "decode/kernel_traits.cuh"

// Which rows and keys a block has.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// Keys from `begin` to `end` - 1, which may be none.
struct KeyRange {
  int begin, end;
};

// The keys that a query token sees. Neither end is before that of the token ahead of it.
template <class Traits>
__device__ __forceinline__ KeyRange visible_keys(const Arguments<Traits> &args, int token) {
  if constexpr (Traits::kIsBanded) {
    return {first_key<Traits>(args.problem, token), end_key<Traits>(args.problem, token)};
  } else if constexpr (Traits::kIsCausal) {
    return {0, min(token + 1, args.seq_kv)};
  } else {
    return {0, args.seq_kv};
  }
}

// A tile of rows of a key-value head, and the block's part of its keys. Keys are counted in steps of kWarpN.
template <class Traits>
struct TileCoord {
  const Arguments<Traits> &args;
  int bidb, kv_head, first_row;
  int split, rank;            // of the grid; in the cluster
  int part;                   // of the keys
  KeyRange some, all;         // the keys that some row of the tile sees, and those that every row sees
  int first_step, num_steps;  // that hold the former

  // Blocks of a split are neighbours, so that tiles of rows read the same keys at the same time.
  __device__ __forceinline__ explicit TileCoord(const Arguments<Traits> &args)
      : args(args), bidb(blockIdx.z), kv_head(blockIdx.y) {
    int m_block;
    split = args.num_m_blocks.divmod(m_block, blockIdx.x / Traits::kCluster);
    rank = blockIdx.x % Traits::kCluster;
    part = split * Traits::kCluster + rank;
    first_row = m_block * Traits::kBlockM;
    const int last_row = min(first_row + Traits::kBlockM, args.num_rows) - 1;
    const KeyRange of_first = visible_keys(args, args.group.divide(first_row));
    const KeyRange of_last = visible_keys(args, args.group.divide(last_row));
    some = {of_first.begin, of_last.end};
    all = {of_last.begin, of_first.end};
    first_step = some.begin / Traits::kWarpN;
    num_steps = (some.end - 1) / Traits::kWarpN + 1 - first_step;
    if (Traits::kIsBanded && some.end <= some.begin) num_steps = 0;
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
