#pragma once

#include "math.cuh"
#include "row_stores.cuh"
#include "split/arguments.cuh"
#include "split/tile_coord.cuh"

// The block's tile of the output in global memory.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

template <class Traits>
struct OutputTile {
  unsigned char *base;
  int row_stride;  // in units of 16 bytes
  int num_rows;    // from the tile's first row to the end of the tensor

  __device__ __forceinline__ OutputTile(const Arguments<Traits> &args, const TileCoord<Traits> &coord)
      : base(row_of(args.out, coord.bidb, coord.bidh, coord.first_row)),
        row_stride(args.out.row),
        num_rows(seq_q_of(args) - coord.first_row) {}

  // The rows from this one on.
  __device__ __forceinline__ OutputTile from(int row) const {
    OutputTile rows = *this;
    rows.base = row_pointer(row);
    rows.num_rows -= row;
    return rows;
  }

  __device__ __forceinline__ unsigned char *row_pointer(int row) const { return base + int64_t(row) * row_stride * 16; }

  // Stores columns of a row of the tile, to where the first of them lies.
  template <int kTiles>
  __device__ __forceinline__ void store(unsigned char *to, const float (&columns)[kTiles][2], int row) const {
    store_row<typename Traits::Element, 8>(to, columns, Traits::kIsExactM || row < num_rows);
  }
};

// What rows are divided by before they are rounded to partial outputs. A row that sees no key of the split has a sum of
// 0.
template <class Traits, class Softmax>
__device__ __forceinline__ void inverse_sums(float (&factor)[Traits::kRowsPerLane], const Softmax &softmax) {
#pragma unroll
  for (int half = 0; half < Traits::kRowsPerLane; ++half)
    factor[half] = !Traits::kIsExactN && softmax.row_sum[half] == 0 ? 0.0f : reciprocal(softmax.row_sum[half]);
}

}  // namespace evoflash::split
#endif
