#pragma once

#include "latent/arguments.cuh"
#include "latent/kernel_traits.cuh"
#include "latent/merge.cuh"
#include "launch.cuh"
#include "programmatic_launch.cuh"

// The second kernel, which merges the partial outputs of a row over the splits of the grid. A block has some columns of
// a row; the grid has these, key heads and batches.
namespace evoflash::latent {

constexpr int kCombinePieces = 16;  // of a block: 64 columns
constexpr int kCombineGroups = 16;  // of threads that share the splits of a piece
constexpr int kCombineThreads = kCombinePieces * kCombineGroups;
constexpr int kCombineBytes = kCombineThreads * 16 + kCombineGroups * 8;

template <class Traits>
constexpr int kCombineBlocksPerRow = Traits::kRowPieces / kCombinePieces;

#ifndef EVOFLASH_HOST_ONLY
template <class Traits>
__device__ __forceinline__ void combine(const Arguments<Traits> &args, unsigned char *shared_memory) {
  constexpr int kBlocksPerRow = kCombineBlocksPerRow<Traits>;
  float4 *const columns = reinterpret_cast<float4 *>(shared_memory);
  float2 *const stats = reinterpret_cast<float2 *>(columns + kCombineThreads);
  const int row = int(blockIdx.x) / kBlocksPerRow, piece = threadIdx.x % kCombinePieces;
  const int number = int(blockIdx.x) % kBlocksPerRow * kCombinePieces + piece, group = threadIdx.x / kCombinePieces;
  const int64_t place = ((int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * args.num_rows + row) * args.num_splits;
  int head;
  const int token = args.group.divmod(head, row);
  unsigned char *const to = row_of(args.out, blockIdx.z, blockIdx.y * args.group.divisor + head, token);

  if constexpr (Traits::kIsEarly) launch_dependents();
  if constexpr (Traits::kIsDependent) wait_for_prerequisites();
  const Piece own = merge_splits<kCombineGroups>(args, place, number, group);
  columns[threadIdx.x] = own.columns;
  if (piece == 0) stats[group] = own.stats;
  __syncthreads();
  if (group == 0)
    store_output<Traits>(to, number, merge_parts<kCombineGroups>(columns + piece, kCombinePieces, stats, 1));
}
#endif

}  // namespace evoflash::latent
