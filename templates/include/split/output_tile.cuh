#pragma once

#include "row_stores.cuh"
#include "softmax.cuh"
#include "split/arguments.cuh"
#include "split/tile_coord.cuh"
#include "split_scales.cuh"

// The block's tile of the output in global memory.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

template <class Traits>
struct OutputTile {
  const Arguments<Traits> &args;
  unsigned char *base;
  int row_stride;  // in units of 16 bytes
  int first_row;

  __device__ __forceinline__ OutputTile(const Arguments<Traits> &args, const TileCoord<Traits> &coord)
      : args(args),
        base(row_of(args.out, coord.bidb, coord.bidh, coord.first_row)),
        row_stride(args.out.row),
        first_row(coord.first_row) {}

  // A row of the tile, and whether the tensor has it.
  __device__ __forceinline__ unsigned char *row_pointer(int row) const { return base + int64_t(row) * row_stride * 16; }
  __device__ __forceinline__ bool is_inside(int row) const {
    return Traits::kIsExactM || first_row + row < seq_q_of(args);
  }
};

// Stores the first num_tiles tiles of columns of a row, to where the first of them lies.
template <class Traits, int kTiles>
__device__ __forceinline__ void store_columns(unsigned char *to, const float (&columns)[kTiles][2], bool pred,
                                              int num_tiles = kTiles) {
  store_row<typename Traits::Element, 8>(to, columns, pred, num_tiles);
}

// The state of softmax over a lane's rows.
template <class Traits>
using RowSoftmax = Softmax<Traits::kRowsPerLane, Traits::kRescaleThreshold, Traits::kPolynomialShare>;

// What rows are divided by before they are rounded to partial outputs.
template <class Traits>
__device__ __forceinline__ void inverse_sums(float (&factor)[Traits::kRowsPerLane], const RowSoftmax<Traits> &softmax) {
#pragma unroll
  for (int half = 0; half < Traits::kRowsPerLane; ++half) factor[half] = inverse_sum(softmax.row_sum[half]);
}

}  // namespace evoflash::split
#endif
