#pragma once

#include "decode/arguments.cuh"
#include "decode/kernel_traits.cuh"

// Which rows and keys a block has.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// How many keys a query token sees. The causal mask is top-left, so every token sees key 0, whatever the lengths.
template <class Traits>
__device__ __forceinline__ int visible_keys(const Arguments<Traits> &args, int token) {
  if constexpr (Traits::kIsCausal) {
    return min(token + 1, args.seq_kv);
  } else {
    return args.seq_kv;
  }
}

// A tile of rows of a key-value head, and the block's part of its keys.
template <class Traits>
struct TileCoord {
  const Arguments<Traits> &args;
  int bidb, kv_head, first_row;
  int split, rank;  // of the grid; in the cluster
  int first_step;   // steps of kWarpN keys, which the block's warps take by turns
  int end_step;
  int key_end;         // the keys that some row of the tile sees
  int visible_to_all;  // the keys that every row sees

  // Blocks of a split are neighbours, so that tiles of rows read the same keys at the same time.
  __device__ __forceinline__ explicit TileCoord(const Arguments<Traits> &args)
      : args(args), bidb(blockIdx.z), kv_head(blockIdx.y) {
    const int number = blockIdx.x / Traits::kCluster;
    int m_block;
    split = args.num_m_blocks.divmod(m_block, number);
    rank = blockIdx.x % Traits::kCluster;
    first_row = m_block * Traits::kBlockM;
    const int last_row = min(first_row + Traits::kBlockM, args.num_rows) - 1;
    key_end = visible_keys(args, args.group.divide(last_row));
    visible_to_all = visible_keys(args, args.group.divide(first_row));

    // Parts differ by one step at most.
    const int part = split * Traits::kCluster + rank;
    int longer_parts;
    const int steps = args.num_parts.divmod(longer_parts, (key_end - 1) / Traits::kWarpN + 1);
    first_step = part * steps + min(part, longer_parts);
    end_step = first_step + steps + (part < longer_parts ? 1 : 0);
  }

  // How many steps a warp has.
  __device__ __forceinline__ int warp_steps(int warp) const {
    return max(0, end_step - first_step - warp + Traits::kWarps - 1) / Traits::kWarps;
  }
  __device__ __forceinline__ int first_key(int warp, int step) const {
    return (first_step + warp + step * Traits::kWarps) * Traits::kWarpN;
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

}  // namespace evoflash::decode
#endif
