#pragma once

#include "cluster.cuh"
#include "linear_mma/arguments.cuh"
#include "linear_mma/kernel_traits.cuh"
#include "row_stores.cuh"
#include "smem_address.cuh"

// From accumulators to the output, to the workspace, or to the other blocks of a cluster.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_mma {

// Where a warp's accumulators lie in the block's tile.
template <class Traits>
struct WarpCoord {
  int row, column;  // the lane's first row; the warp's first column

  __device__ __forceinline__ WarpCoord() {
    const int warp = threadIdx.x / 32;
    row = warp / Traits::kWarpsN * Traits::kWarpM + threadIdx.x % 32 / 4;
    column = warp % Traits::kWarpsN * Traits::kWarpN;
  }
};

// Calls body(accumulators' row tile, half, row of the block's tile) for each of a lane's rows.
template <class Traits, class Body>
__device__ __forceinline__ void for_rows(const WarpCoord<Traits> &warp, const Body &body) {
#pragma unroll
  for (int i = 0; i < Traits::kTilesM; ++i)
#pragma unroll
    for (int half = 0; half < 2; ++half) body(i, half, warp.row + 16 * i + 8 * half);
}

template <class Traits>
__device__ __forceinline__ void store_output(const Accumulators<Traits> &acc, const Arguments &args,
                                             const TileCoord &coord) {
  using Element = typename Traits::Element;
  const WarpCoord<Traits> warp;
  const int first_column = coord.column + warp.column, num_tiles = (args.n - first_column) / 8;
  const int lane_column = first_column + threadIdx.x % 4 * 2;
  unsigned bias[Traits::kTilesN];
#pragma unroll
  for (int j = 0; j < Traits::kTilesN; ++j)
    bias[j] = j < num_tiles ? linear::bias_word(args.epilogue, lane_column + 8 * j) : 0;
  for_rows<Traits>(warp, [&](int i, int half, int tile_row) {
    const int row = coord.row + tile_row;
    const bool is_inside = row < args.m;
    unsigned residual[Traits::kTilesN];
#pragma unroll
    for (int j = 0; j < Traits::kTilesN; ++j)
      residual[j] = is_inside && j < num_tiles ? linear::residual_word(args.epilogue, row, lane_column + 8 * j) : 0;
    float columns[Traits::kTilesN][2];
#pragma unroll
    for (int j = 0; j < Traits::kTilesN; ++j) {
      const float2 pair = linear::finish_pair<Element, Traits::kActivation>(
          acc[i][j][2 * half], acc[i][j][2 * half + 1], bias[j], residual[j]);
      columns[j][0] = pair.x;
      columns[j][1] = pair.y;
    }
    store_row<Element, Traits::kStoreBytes>(args.epilogue.out.at(row, first_column), columns, is_inside, num_tiles);
  });
}

template <class Traits>
__device__ __forceinline__ void store_partials(const Accumulators<Traits> &acc, const Arguments &args,
                                               const TileCoord &coord) {
  const WarpCoord<Traits> warp;
  for_rows<Traits>(warp, [&](int i, int half, int tile_row) {
    const int row = coord.row + tile_row, first_column = coord.column + warp.column;
    float *const to = args.partials + (int64_t(coord.split) * args.m + row) * args.n + first_column;
#pragma unroll
    for (int j = 0; j < Traits::kTilesN; ++j)
      if (row < args.m && first_column + 8 * j < args.n)
        *reinterpret_cast<float2 *>(to + 8 * j + threadIdx.x % 4 * 2) =
            make_float2(acc[i][j][2 * half], acc[i][j][2 * half + 1]);
  });
}

// The blocks of a cluster leave their sums in shared memory, then each adds those of every kCluster-th row, in the
// order of the blocks.
template <class Traits>
__device__ __forceinline__ void merge_cluster(const Accumulators<Traits> &acc, unsigned char *smem,
                                              const Arguments &args, const TileCoord &coord) {
  constexpr int kCluster = Traits::kCluster, kRowThreads = Traits::kBlockN / 8;
  __syncthreads();  // all have read the last stage
  const WarpCoord<Traits> warp;
  for_rows<Traits>(warp, [&](int i, int half, int tile_row) {
    float *const to = reinterpret_cast<float *>(smem) + tile_row * Traits::kSumsStride + warp.column;
#pragma unroll
    for (int j = 0; j < Traits::kTilesN; ++j)
      *reinterpret_cast<float2 *>(to + 8 * j + threadIdx.x % 4 * 2) =
          make_float2(acc[i][j][2 * half], acc[i][j][2 * half + 1]);
  });
  cluster_sync();

  for (int at = threadIdx.x; at < Traits::kBlockM / kCluster * kRowThreads; at += Traits::kNumThreads) {
    const int tile_row = at / kRowThreads * kCluster + coord.split, tile_column = at % kRowThreads * 8;
    const int row = coord.row + tile_row, column = coord.column + tile_column;
    if (row >= args.m || column >= args.n) continue;
    const unsigned from = smem_address(smem) + (tile_row * Traits::kSumsStride + tile_column) * unsigned(sizeof(float));
    float sums[8] = {};
#pragma unroll
    for (int rank = 0; rank < kCluster; ++rank)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float4 part = load_remote(remote_address(from + i * 16, rank));
        sums[4 * i] += part.x;
        sums[4 * i + 1] += part.y;
        sums[4 * i + 2] += part.z;
        sums[4 * i + 3] += part.w;
      }
    linear::finish_8<typename Traits::Element, Traits::kActivation>(sums, args.epilogue, row, column);
  }
  cluster_sync();  // no block leaves before the others have read its sums
}

}  // namespace evoflash::linear_mma
#endif
