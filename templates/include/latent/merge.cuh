#pragma once

#include "latent/arguments.cuh"
#include "math.cuh"
#include "pairs.cuh"
#include "softmax.cuh"
#include "split_scales.cuh"

// Parts of an output, each over some of the keys, become one. This goes by pieces: four columns of a row, in floats.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

struct Piece {
  float4 columns;  // not yet divided by the sum
  float2 stats;    // the row's maximum and sum
};

// sum += scale * part.
__device__ __forceinline__ void add_scaled(float4 &sum, float4 part, float scale) {
  sum.x = fmaf(part.x, scale, sum.x);
  sum.y = fmaf(part.y, scale, sum.y);
  sum.z = fmaf(part.z, scale, sum.z);
  sum.w = fmaf(part.w, scale, sum.w);
}

// A piece over kParts parts in shared memory, which follow each other by these strides.
template <int kParts>
__device__ __forceinline__ Piece merge_parts(const float4 *columns, int columns_stride, const float2 *stats,
                                             int stats_stride) {
  float scales[kParts];
  Piece piece{make_float4(0, 0, 0, 0), split_scales<float>(scales, stats, stats_stride, 1.0f)};
#pragma unroll
  for (int part = 0; part < kParts; ++part) add_scaled(piece.columns, columns[part * columns_stride], scales[part]);
  return piece;
}

// A split's part of a row in the workspace, whose first split stands at `place`: a piece, the row's maximum and sum.
template <class Traits>
__device__ __forceinline__ float4 *split_piece(const Arguments<Traits> &args, int64_t place, int number) {
  return reinterpret_cast<float4 *>(args.partials) + place * Traits::kRowPieces + number;
}
template <class Traits>
__device__ __forceinline__ float2 *split_stats(const Arguments<Traits> &args, int64_t place) {
  return reinterpret_cast<float2 *>(args.stats) + place;
}

// A piece over every kStep-th split of a row from `first` on. Several splits are loaded at once, with their statistics,
// before any scale is known.
template <int kStep, class Traits>
__device__ __forceinline__ Piece merge_splits(const Arguments<Traits> &args, int64_t place, int number, int first) {
  constexpr int kAtOnce = 8;
  const float4 *const columns = split_piece(args, place, number);
  const float2 *const stats = split_stats(args, place);
  const int num_splits = args.num_splits;
  Piece piece{make_float4(0, 0, 0, 0), make_float2(-INFINITY, 0)};
  for (int start = first; start < num_splits; start += kAtOnce * kStep) {
    float4 part[kAtOnce];
    float2 stat[kAtOnce];
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const int split = start + i * kStep;
      const bool is_there = split < num_splits;
      stat[i] = is_there ? stats[split] : make_float2(-INFINITY, 0);
      part[i] = is_there ? columns[split * Traits::kRowPieces] : make_float4(0, 0, 0, 0);
    }
    float row_max = piece.stats.x;
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) row_max = fmaxf(row_max, stat[i].x);
    const float offset = offset_of(row_max, 1.0f), older = exp2_approx(piece.stats.x - offset);
    const float4 sum = piece.columns;
    piece = {make_float4(0, 0, 0, 0), make_float2(row_max, piece.stats.y * older)};
    add_scaled(piece.columns, sum, older);
#pragma unroll
    for (int i = 0; i < kAtOnce; ++i) {
      const float scale = exp2_approx(stat[i].x - offset);
      piece.stats.y = fmaf(scale, stat[i].y, piece.stats.y);
      add_scaled(piece.columns, part[i], scale);
    }
  }
  return piece;
}

// Stores a piece of a row, divided by the row's sum.
template <class Traits>
__device__ __forceinline__ void store_output(unsigned char *row, int number, const Piece &piece) {
  using Element = typename Traits::Element;
  const float factor = inverse_total<kHasBlindRows<Traits>>(piece.stats.y);
  const float4 &columns = piece.columns;
  reinterpret_cast<uint2 *>(row)[number] = make_uint2(pack<Element>(columns.x * factor, columns.y * factor),
                                                      pack<Element>(columns.z * factor, columns.w * factor));
}

}  // namespace evoflash::latent
#endif
