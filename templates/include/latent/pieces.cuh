#pragma once

#include "latent/arguments.cuh"
#include "latent/kernel_traits.cuh"
#include "math.cuh"
#include "pairs.cuh"
#include "softmax.cuh"
#include "split_scales.cuh"

// Partial outputs, each over some of the keys, and how they become one.
//
// A partial output goes by pieces of 16 bytes, as the lanes have it: of a row, a lane's two columns of two tiles of 8
// columns in floats, of four tiles in 16-bit elements. The latter are divided by the row's sum, so that they stay
// within the range of the values. The pieces of a row follow each other warp by warp; those of the four lanes are
// neighbours.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

// What a piece is made of: sums of weighted values, which are not divided yet, and the row's maximum and sum.
template <class Traits>
struct PieceSum {
  using ElementPartial = typename Traits::ElementPartial;
  static constexpr int kTiles = Traits::kPieceTiles;

  float columns[kTiles][2] = {};
  float2 stats = make_float2(kNoMaximum, 0);

  // `factor` is the inverse of the row's sum.
  __device__ __forceinline__ uint4 words(float factor) const {
    unsigned made[4];
    if constexpr (kIsNormalized<ElementPartial>) {
#pragma unroll
      for (int i = 0; i < kTiles; ++i) made[i] = pack<ElementPartial>(columns[i][0] * factor, columns[i][1] * factor);
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) made[i] = __float_as_uint(columns[i / 2][i % 2]);
    }
    return make_uint4(made[0], made[1], made[2], made[3]);
  }

  // columns += scale * piece.
  __device__ __forceinline__ void add(uint4 piece, float scale) {
    const unsigned of_piece[4] = {piece.x, piece.y, piece.z, piece.w};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (kIsNormalized<ElementPartial>) {
        columns[i][0] = fmaf(low_to_float<ElementPartial>(of_piece[i]), scale, columns[i][0]);
        columns[i][1] = fmaf(high_to_float<ElementPartial>(of_piece[i]), scale, columns[i][1]);
      } else {
        columns[i / 2][i % 2] = fmaf(__uint_as_float(of_piece[i]), scale, columns[i / 2][i % 2]);
      }
    }
  }

  // Over kParts parts in shared memory, which follow each other by these strides.
  template <int kParts>
  __device__ __forceinline__ static PieceSum of_parts(const uint4 *pieces, int pieces_stride, const float2 *stats,
                                                      int stats_stride) {
    PieceSum sum;
    float scales[kParts];
    sum.stats = split_scales<ElementPartial>(scales, stats, stats_stride, 1.0f);
#pragma unroll
    for (int part = 0; part < kParts; ++part) sum.add(pieces[part * pieces_stride], scales[part]);
    return sum;
  }

  // Over every kStep-th split of a row from `first` on, in the workspace. Several splits are loaded at once, with their
  // statistics, before any scale is known.
  template <int kStep>
  __device__ __forceinline__ static PieceSum of_splits(const Arguments<Traits> &args, int64_t row, int number,
                                                       int first) {
    constexpr int kAtOnce = 8;
    const uint4 *const pieces = split_piece(args, row, 0, number);
    const float2 *const stats = split_stats(args, row, 0);
    PieceSum sum;
    for (int start = first; start < args.num_splits; start += kAtOnce * kStep) {
      uint4 part[kAtOnce];
      float2 stat[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const int split = start + i * kStep;
        const bool is_there = split < args.num_splits;
        stat[i] = is_there ? stats[split] : make_float2(kNoMaximum, 0);
        part[i] = is_there ? pieces[split * Traits::kRowPieces] : make_uint4(0, 0, 0, 0);
      }
      float row_max = sum.stats.x;
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) row_max = fmaxf(row_max, stat[i].x);
      sum.rescale(row_max);
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i) {
        const float scale = exp2_approx(stat[i].x - row_max), weight = scale * stat[i].y;
        sum.stats.y += weight;
        sum.add(part[i], kIsNormalized<ElementPartial> ? weight : scale);
      }
    }
    return sum;
  }

  // Measures exponents from a maximum that is no smaller than its own.
  __device__ __forceinline__ void rescale(float row_max) {
    const float scale = exp2_approx(stats.x - row_max);
    stats = make_float2(row_max, stats.y * scale);
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int j = 0; j < 2; ++j) columns[i][j] *= scale;
  }

  // Stores the number-th piece of a row of the output, divided by the row's sum.
  __device__ __forceinline__ void store_output(unsigned char *row, int number) const {
    const float factor = inverse_total<kHasBlindRows<Traits>>(stats.y);
    unsigned *const to = reinterpret_cast<unsigned *>(row) + number / 4 * kTiles * 4 + number % 4;
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
      to[i * 4] = pack<typename Traits::Element>(columns[i][0] * factor, columns[i][1] * factor);
  }

  // A row's piece, and its maximum and sum, of a split.
  __device__ __forceinline__ static uint4 *split_piece(const Arguments<Traits> &args, int64_t row, int split,
                                                       int number) {
    return static_cast<uint4 *>(args.partials) + (row * args.num_splits + split) * Traits::kRowPieces + number;
  }
  __device__ __forceinline__ static float2 *split_stats(const Arguments<Traits> &args, int64_t row, int split) {
    return static_cast<float2 *>(args.stats) + row * args.num_splits + split;
  }
};

}  // namespace evoflash::latent
#endif
