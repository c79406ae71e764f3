#pragma once

#include "latent/arguments.cuh"
#include "latent/kernel_traits.cuh"

// Which rows and keys a block has.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

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

// A tile of rows of a key head, and the block's part of its keys: a run of steps of kBlockN keys.
template <class Traits>
struct TileCoord {
  const Arguments<Traits> &args;
  int bidb, kv_head, m_block;
  int split, rank;     // of the grid; in the cluster
  KeyRange some, all;  // the keys that some row of the tile sees, and those that every row sees
  int first_step, num_steps;

  // Blocks of a split are neighbours, so that tiles of rows read the same keys at the same time.
  __device__ __forceinline__ explicit TileCoord(const Arguments<Traits> &args)
      : args(args), bidb(blockIdx.z), kv_head(blockIdx.y) {
    split = args.num_m_blocks.divmod(m_block, blockIdx.x / Traits::kCluster);
    rank = blockIdx.x % Traits::kCluster;
    const int last_row = min(first_row() + Traits::kBlockM, args.num_rows) - 1;
    const KeyRange of_first = visible_keys(args, args.group.divide(first_row()));
    const KeyRange of_last = visible_keys(args, args.group.divide(last_row));
    some = {of_first.begin, of_last.end};
    all = {of_last.begin, of_first.end};
    const int tile_first = some.begin / Traits::kBlockN;
    int tile_steps = (some.end - 1) / Traits::kBlockN + 1 - tile_first;
    if (Traits::kIsBanded && some.end <= some.begin) tile_steps = 0;
    // Parts differ by one step at most.
    const int part = split * Traits::kCluster + rank;
    int longer_parts;
    const int shorter = args.num_parts.divmod(longer_parts, tile_steps);
    num_steps = shorter + (part < longer_parts ? 1 : 0);
    first_step = tile_first + part * shorter + min(part, longer_parts);
  }

  __device__ __forceinline__ int first_row() const { return m_block * Traits::kBlockM; }
  __device__ __forceinline__ bool has_row(int row) const { return first_row() + row < args.num_rows; }
  __device__ __forceinline__ int first_key(int step) const { return (first_step + step) * Traits::kBlockN; }

  // A row of the tile in Q or the output.
  __device__ __forceinline__ unsigned char *row_pointer(const Tensor &tensor, int row) const {
    int head;
    const int token = args.group.divmod(head, first_row() + row);
    return row_of(tensor, bidb, kv_head * args.group.divisor + head, token);
  }

  // The row's number among all rows of the problem.
  __device__ __forceinline__ int64_t row_number(int row) const {
    return (int64_t(bidb) * gridDim.y + kv_head) * args.num_rows + first_row() + row;
  }
};

}  // namespace evoflash::latent
#endif
