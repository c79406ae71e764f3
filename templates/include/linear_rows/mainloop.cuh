#pragma once

#include "linear_rows/arguments.cuh"
#include "linear_rows/kernel_traits.cuh"
#include "mma_sync.cuh"
#include "streaming_loads.cuh"

// A warp's part of the sums: weights go from memory to the tensor cores through registers alone.
//
// Fragments, for lane = 4 g + c, name two neighbouring terms 2c and 2c + 1 of a row (mma_sync.cuh). Which terms of the
// sum these are is free, as long as both operands agree. Here lane c has the terms 8c to 8c + 7 of a chunk of 32, 16
// consecutive bytes, which serve two products. The weight is the operand of 16 rows, and x that of eight columns.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_rows {

template <class Traits>
using Accumulators = float[Traits::kTilesN][Traits::kTilesM][4];

// A lane's 16 bytes of every eighth row; zeros beyond the last row.
template <int kCount>
struct LaneRows {
  const unsigned char *source;
  int64_t step_bytes;
  int rows;  // how many there are from the lane's first one on

  __device__ __forceinline__ LaneRows(const linear::Rows &matrix, int first_row, int num_rows) {
    const int row = first_row + threadIdx.x % 32 / 4;
    source = matrix.at(row, threadIdx.x % 4 * 8);
    step_bytes = 8 * matrix.row_bytes;
    rows = num_rows - row;
  }

  __device__ __forceinline__ const unsigned char *at(int i, int k) const {
    return source + i * step_bytes + 2 * int64_t(k);
  }
  __device__ __forceinline__ bool has(int i) const { return 8 * i < rows; }
};

template <class Traits>
__device__ __forceinline__ void multiply(Accumulators<Traits> &acc, const Arguments &args, int row, int column,
                                         int first_k) {
  constexpr int kUnroll = Traits::kUnroll, kTilesN = Traits::kTilesN, kTilesM = Traits::kTilesM;
  const LaneRows<2 * kTilesN> weight(args.weight, column, args.n);
  const LaneRows<kTilesM> x(args.x, row, args.m);
  for (int k = first_k; k < args.k; k += Traits::kAllStepsK) {
    uint4 a[kUnroll][kTilesN][2], b[kUnroll][kTilesM];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const int from = k + u * Traits::kChunkK;
      const bool has_terms = from + int(threadIdx.x % 4) * 8 < args.k;
#pragma unroll
      for (int i = 0; i < 2 * kTilesN; ++i)
        a[u][i / 2][i % 2] = has_terms && weight.has(i) ? load_streaming(weight.at(i, from)) : make_uint4(0, 0, 0, 0);
#pragma unroll
      for (int i = 0; i < kTilesM; ++i)
        b[u][i] = has_terms && x.has(i) ? *reinterpret_cast<const uint4 *>(x.at(i, from)) : make_uint4(0, 0, 0, 0);
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
#pragma unroll
      for (int i = 0; i < kTilesN; ++i) {
        const uint4 upper = a[u][i][0], lower = a[u][i][1];  // rows g and g + 8
        const unsigned first[4] = {upper.x, lower.x, upper.y, lower.y};
        const unsigned second[4] = {upper.z, lower.z, upper.w, lower.w};
#pragma unroll
        for (int j = 0; j < kTilesM; ++j) {
          mma_m16n8k16<typename Traits::Element>(acc[i][j], first, b[u][j].x, b[u][j].y);
          mma_m16n8k16<typename Traits::Element>(acc[i][j], second, b[u][j].z, b[u][j].w);
        }
      }
  }
}

}  // namespace evoflash::linear_rows
#endif
