#pragma once

#include "mma/arguments.cuh"
#include "mma/tile_coord.cuh"
#include "row_stores.cuh"
#include "split_scales.cuh"

// Where a tile's rows go: to the output, or with split-KV to the workspace.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

// The log-sum-exp of a tile's rows.
template <bool kStoresLse>
struct LseTile {
  template <class Arguments, class Coord>
  __device__ __forceinline__ LseTile(const Arguments &, const Coord &) {}
  __device__ __forceinline__ void store_lse(int, float2) const {}
};
template <>
struct LseTile<true> {
  float *lse;
  ScoreScale scale;

  template <class Arguments, class Coord>
  __device__ __forceinline__ LseTile(const Arguments &args, const Coord &coord)
      : lse(args.lse.from(coord.bidb, coord.bidh, coord.first_row)), scale(args.softmax_scale_log2) {}

  // Of a row's offset and sum over all keys.
  __device__ __forceinline__ void store_lse(int row, float2 total) const { lse[row] = log_sum_exp(total, scale); }
};

template <class Traits, bool kIsSplitKv = Traits::kIsSplitKv>
struct OutputTile : LseTile<Traits::kStoresLse> {
  using Element = typename Traits::Element;
  unsigned char *rows;
  int row_units;  // stride between rows, in units of 16 bytes
  int rows_left;  // of the tensor, from the tile's first on

  __device__ __forceinline__ OutputTile(const Arguments<Traits> &args, const WarpCoord<Traits> &coord,
                                        float &softmax_scale_log2)
      : LseTile<Traits::kStoresLse>(args, coord) {
    rows = row_of(args.out, coord.bidb, coord.bidh, coord.first_row);
    row_units = args.out.row;
    softmax_scale_log2 = args.softmax_scale_log2;
    asm volatile("" : "+l"(rows), "+r"(row_units), "+f"(softmax_scale_log2));  // read now, not later
    rows_left = args.seq_q - coord.first_row;
  }

  // Stores neighbouring columns of a row, from the given tile of eight on.
  template <int kTiles>
  __device__ __forceinline__ void store(int row, int tile, const float (&columns)[kTiles][2], bool pred) const {
    store_row<Element, Traits::kStoreBytes>(rows + int64_t(row) * row_units * 16 + tile * kRowTileBytes<Element>,
                                            columns, pred);
  }
};

template <class Traits>
struct OutputTile<Traits, true> {
  using Element = typename Traits::ElementPartial;
  static constexpr int kRowBytes = kPartialRowBytes<Element, Traits::kValueDim>;
  unsigned char *rows;
  float2 *stats;  // (offset, row_sum) of each row
  int rows_left;

  __device__ __forceinline__ OutputTile(const Arguments<Traits> &args, const WarpCoord<Traits> &coord,
                                        float &softmax_scale_log2) {
    const SplitPartials &partials = args.partials;
    int heads;
    if constexpr (Traits::kHasFixedSizes) {
      heads = Traits::kNumHeads;
    } else {
      heads = partials.heads;
    }
    const int64_t row =
        coord.split * partials.rows + (int64_t(coord.bidb) * heads + coord.bidh) * args.seq_q + coord.first_row;
    rows = partials.out + row * kRowBytes;
    stats = reinterpret_cast<float2 *>(partials.stats) + row;
    softmax_scale_log2 = args.softmax_scale_log2;
    asm volatile("" : "+l"(rows), "+l"(stats), "+f"(softmax_scale_log2));  // read now, not later
    rows_left = args.seq_q - coord.first_row;
  }

  template <int kTiles>
  __device__ __forceinline__ void store(int row, int tile, const float (&columns)[kTiles][2], bool pred) const {
    store_row<Element, Traits::kStoreBytes>(rows + int64_t(row) * kRowBytes + tile * kRowTileBytes<Element>, columns,
                                            pred);
  }
};

}  // namespace evoflash::mma
#endif
