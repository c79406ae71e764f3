#pragma once

#include "cluster.cuh"
#include "linear_rows/mainloop.cuh"
#include "smem_address.cuh"

// From the accumulators of all warps to the output. They are added in the order of the warps, then of the blocks.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_rows {

// The pairs of columns that a thread finishes, with their biases and residuals, which are loaded before the products.
template <class Traits>
struct Epilogue {
  static constexpr int kThreadPairs = Traits::kThreadPairs;

  const Arguments &args;
  int row, column, first_pair;
  unsigned bias[kThreadPairs], residual[kThreadPairs];

  // In a cluster each block finishes a part of the tile.
  __device__ __forceinline__ Epilogue(const Arguments &args, int row, int column, int rank)
      : args(args), row(row), column(column), first_pair(rank * Traits::kBlockPairs + threadIdx.x) {
#pragma unroll
    for (int i = 0; i < kThreadPairs; ++i) {
      bias[i] = residual[i] = 0;
      if (is_inside(i)) {
        bias[i] = linear::bias_word(args.epilogue, column_of(i));
        residual[i] = linear::residual_word(args.epilogue, row_of(i), column_of(i));
      }
    }
  }

  __device__ __forceinline__ int pair(int i) const { return first_pair + i * Traits::kNumThreads; }
  __device__ __forceinline__ int row_of(int i) const { return row + pair(i) / Traits::kRowPairs; }
  __device__ __forceinline__ int column_of(int i) const { return column + pair(i) % Traits::kRowPairs * 2; }
  __device__ __forceinline__ bool is_inside(int i) const {
    const bool is_own = threadIdx.x + i * Traits::kNumThreads < Traits::kBlockPairs;
    return is_own && row_of(i) < args.m && column_of(i) < args.n;
  }

  // Where a pair's sums lie.
  __device__ __forceinline__ static int sums_offset(int pair) {
    return pair / Traits::kRowPairs * Traits::kSumsStride + pair % Traits::kRowPairs * 2;
  }

  // A lane's accumulators: columns g and g + 8 of rows 2c and 2c + 1.
  __device__ __forceinline__ static void store_sums(float *sums, const Accumulators<Traits> &acc) {
    float *const own = sums + threadIdx.x / 32 * Traits::kSumsFloats + threadIdx.x % 32 / 4 +
                       threadIdx.x % 4 * 2 * Traits::kSumsStride;
#pragma unroll
    for (int i = 0; i < Traits::kTilesN; ++i)
#pragma unroll
      for (int j = 0; j < Traits::kTilesM; ++j)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          own[8 * j * Traits::kSumsStride + 16 * i + 8 * half] = acc[i][j][2 * half];
          own[(8 * j + 1) * Traits::kSumsStride + 16 * i + 8 * half] = acc[i][j][2 * half + 1];
        }
  }

  // The sum of a pair over the block's warps.
  __device__ __forceinline__ static float2 add_warps(const float *sums, int pair) {
    float2 total = make_float2(0, 0);
#pragma unroll
    for (int warp = 0; warp < Traits::kNumWarps; ++warp) {
      const float2 part = *reinterpret_cast<const float2 *>(sums + warp * Traits::kSumsFloats + sums_offset(pair));
      total.x += part.x;
      total.y += part.y;
    }
    return total;
  }

  // The sum of a pair over the blocks of the cluster, each of which has left its own in the place of the first warp's.
  __device__ __forceinline__ static float2 add_blocks(const float *sums, int pair) {
    const unsigned from = smem_address(sums + sums_offset(pair));
    float2 total = make_float2(0, 0);
#pragma unroll
    for (int rank = 0; rank < Traits::kCluster; ++rank) {
      const float2 part = load_remote_pair(remote_address(from, rank));
      total.x += part.x;
      total.y += part.y;
    }
    return total;
  }

  __device__ __forceinline__ void store_pair(int i, float2 sum) const {
    using Element = typename Traits::Element;
    const float2 pair = linear::finish_pair<Element, Traits::kActivation>(sum.x, sum.y, bias[i], residual[i]);
    *reinterpret_cast<unsigned *>(args.epilogue.out.at(row_of(i), column_of(i))) = pack<Element>(pair.x, pair.y);
  }

  __device__ __forceinline__ void store(float *sums, const Accumulators<Traits> &acc) const {
    store_sums(sums, acc);
    __syncthreads();
    if constexpr (Traits::kIsCluster) {
      for (int pair = threadIdx.x; pair < Traits::kRows * Traits::kRowPairs; pair += Traits::kNumThreads)
        *reinterpret_cast<float2 *>(sums + sums_offset(pair)) = add_warps(sums, pair);
      cluster_sync();
    }
#pragma unroll
    for (int i = 0; i < kThreadPairs; ++i)
      if (is_inside(i)) {
        if constexpr (Traits::kIsCluster) {
          store_pair(i, add_blocks(sums, pair(i)));
        } else {
          store_pair(i, add_warps(sums, pair(i)));
        }
      }
    if constexpr (Traits::kIsCluster) cluster_sync();  // no block leaves before the others have read its sums
  }
};

}  // namespace evoflash::linear_rows
#endif
