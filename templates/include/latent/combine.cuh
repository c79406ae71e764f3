#pragma once

#include "latent/arguments.cuh"
#include "latent/kernel_traits.cuh"
#include "latent/pieces.cuh"
#include "launch.cuh"
#include "programmatic_launch.cuh"

// The second kernel, which merges the partial outputs of a row over the splits of the grid. A block has some pieces of
// a row; the grid has these, key heads and batches.
namespace evoflash::latent {

constexpr int kCombinePieces = 8;   // of a block
constexpr int kCombineGroups = 16;  // of threads that share the splits of a piece
constexpr int kCombineThreads = kCombinePieces * kCombineGroups;

template <class Traits>
constexpr int kCombineBlocksPerRow = Traits::kRowPieces / kCombinePieces;

// Shared memory: each thread's sums, then its row's maximum and sum.
template <class Traits>
constexpr int kCombineBytes = kCombineThreads * (Traits::kPieceTiles + 1) * 8;

#ifndef EVOFLASH_HOST_ONLY
template <class Traits>
__device__ __forceinline__ void combine(const Arguments<Traits> &args, unsigned char *shared_memory) {
  using Sum = PieceSum<Traits>;
  constexpr int kBlocksPerRow = kCombineBlocksPerRow<Traits>, kTiles = Traits::kPieceTiles;
  float2 *const sums = reinterpret_cast<float2 *>(shared_memory);
  const int row = int(blockIdx.x) / kBlocksPerRow, piece = threadIdx.x % kCombinePieces;
  const int number = int(blockIdx.x) % kBlocksPerRow * kCombinePieces + piece, group = threadIdx.x / kCombinePieces;
  int head;
  const int token = args.group.divmod(head, row);

  if constexpr (Traits::kIsEarly) launch_dependents();
  if constexpr (Traits::kIsDependent) wait_for_prerequisites();
  const Sum own = Sum::template of_splits<kCombineGroups>(
      args, (int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * args.num_rows + row, number, group);
#pragma unroll
  for (int i = 0; i < kTiles; ++i)
    sums[i * kCombineThreads + threadIdx.x] = make_float2(own.columns[i][0], own.columns[i][1]);
  float2 *const stats = sums + kTiles * kCombineThreads;
  stats[threadIdx.x] = own.stats;
  __syncthreads();
  if (group != 0) return;

  float scales[kCombineGroups];
  Sum merged;
  merged.stats = split_scales<float>(scales, stats + piece, kCombinePieces, 1.0f);
#pragma unroll
  for (int other = 0; other < kCombineGroups; ++other)
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      const float2 columns = sums[i * kCombineThreads + other * kCombinePieces + piece];
      merged.columns[i][0] = fmaf(columns.x, scales[other], merged.columns[i][0]);
      merged.columns[i][1] = fmaf(columns.y, scales[other], merged.columns[i][1]);
    }
  merged.store_output(row_of(args.out, blockIdx.z, blockIdx.y * args.group.divisor + head, token), number);
}
#endif

}  // namespace evoflash::latent
