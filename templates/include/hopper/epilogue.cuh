#pragma once

#include "hopper/arguments.cuh"
#include "hopper/gemm.cuh"
#include "hopper/storage.cuh"
#include "hopper/tile_coord.cuh"
#include "math.cuh"
#include "named_barrier.cuh"
#include "row_stores.cuh"
#include "split_scales.cuh"
#include "tma.cuh"
#include "warp.cuh"

// Stores a warpgroup's rows of the output.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

// By TMA, through shared memory where the warpgroup's Q was; `inverse` holds what the lane's rows are multiplied by. An
// odd last tile is written twice, the second time to columns that the output does not have and TMA does not store.
template <class Traits>
__device__ __forceinline__ void store_by_tma(const Arguments<Traits> &args, unsigned char *tile, int warpgroup,
                                             const TileCoord<Traits> &coord,
                                             const float (&acc_o)[Traits::kTilesValue][4], const float (&inverse)[2]) {
  using Element = typename Traits::Element;
  using Panel = typename Traits::ValuePanel;
#pragma unroll
  for (int k = 0; k < (Traits::kTilesValue + 1) / 2; ++k) {
    const auto &left = acc_o[2 * k], &right = acc_o[2 * k + 1 < Traits::kTilesValue ? 2 * k + 1 : 2 * k];
    stmatrix_x4(tile + stmatrix_offset<Traits>(k), pack<Element>(left[0] * inverse[0], left[1] * inverse[0]),
                pack<Element>(left[2] * inverse[1], left[3] * inverse[1]),
                pack<Element>(right[0] * inverse[0], right[1] * inverse[0]),
                pack<Element>(right[2] * inverse[1], right[3] * inverse[1]));
  }
  fence_proxy_async();
  named_barrier_sync<128>(1 + Traits::kNumWarpgroups + warpgroup);
  if (threadIdx.x % 128 == 0) {
#pragma unroll
    for (int panel = 0; panel < Panel::kCount; ++panel)
      tma_store(args.out, {panel * Panel::kDims, coord.first_row, coord.bidh, coord.bidb},
                smem_address(tile) + panel * Traits::kQPanelBytes);
    tma_store_commit();
    if constexpr (!Traits::kIsLateRelease) tma_store_wait();
  }
}

// One row of a lane's accumulators, times a factor.
template <int kTiles>
__device__ __forceinline__ void scale_row(float (&columns)[kTiles][2], const float (&acc_o)[kTiles][4], int half,
                                          float factor) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 2; ++i) columns[t][i] = acc_o[t][2 * half + i] * factor;
}

// The row of a lane's accumulators.
template <class Traits>
__device__ __forceinline__ int row_of_lane(const TileCoord<Traits> &coord, int half) {
  return coord.first_row + threadIdx.x % 128 / 32 * 16 + half * 8 + threadIdx.x % 32 / 4;
}

// From registers, 4 bytes a lane.
template <class Traits, class Softmax>
__device__ __forceinline__ void store_from_registers(const Arguments<Traits> &args, const TileCoord<Traits> &coord,
                                                     const float (&acc_o)[Traits::kTilesValue][4],
                                                     const Softmax &softmax) {
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = row_of_lane(coord, half);
    const float row_sum = warp_reduce_sum<4>(softmax.row_sum[half]);
    float columns[Traits::kTilesValue][2];
    scale_row(columns, acc_o, half, inverse_total<kHasBlindRows<Traits>>(row_sum));
    store_row<typename Traits::Element, 4>(row_of(args.out, coord.bidb, coord.bidh, row), columns, row < args.seq_q);
  }
}

// The rows of a partial output and their statistics, likewise.
template <class Traits, class Softmax>
__device__ __forceinline__ void store_partial(const Arguments<Traits> &args, const TileCoord<Traits> &coord,
                                              const float (&acc_o)[Traits::kTilesValue][4], const Softmax &softmax) {
  using Element = typename Traits::ElementPartial;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int row = row_of_lane(coord, half);
    const float row_sum = warp_reduce_sum<4>(softmax.row_sum[half]);
    float columns[Traits::kTilesValue][2];
    const SplitPartials &partials = args.partials;
    int64_t at;
    if constexpr (Traits::kSplitsRest) {
      at = coord.split * partials.rows + coord.first_partial + row - coord.first_row;
    } else {
      at = coord.split * partials.rows + (int64_t(coord.bidb) * partials.heads + coord.bidh) * args.seq_q + row;
    }
    if (threadIdx.x % 4 == 0 && row < args.seq_q)
      reinterpret_cast<float2 *>(partials.stats)[at] = make_float2(softmax.offset[half], row_sum);
    float factor = 1;
    if constexpr (kIsNormalized<Element>) factor = inverse_sum(row_sum);
    scale_row(columns, acc_o, half, factor);
    store_row<Element, 4>(partials.out + at * kPartialRowBytes<Element, Traits::kValueDim>, columns, row < args.seq_q);
  }
}

}  // namespace evoflash::hopper
#endif
