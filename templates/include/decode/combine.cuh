#pragma once

#include "decode/arguments.cuh"
#include "decode/head_scales.cuh"
#include "decode/output.cuh"
#include "decode/shares.cuh"
#include "launch.cuh"
#include "programmatic_launch.cuh"
#include "softmax.cuh"
#include "warp.cuh"

// The second kernel, which merges the partial outputs of a row over the splits of the grid. A block has a row; the grid
// has rows, key-value heads and batches.
namespace evoflash::decode {

constexpr int kCombineThreads = 256;

// Shared memory: the scale of each split, then the sums of the threads that share a piece.
// A thread's scale each.
static_assert(kMaxSplits == kCombineThreads);

template <class Traits>
struct CombineStorage {
  static constexpr int kRowPieces = Traits::kHeadDim / 4;
  // Threads that share a piece, each with some of the splits.
  static constexpr int kGroups = kCombineThreads / kRowPieces < 32 ? kCombineThreads / kRowPieces : 32;
  static constexpr int kScaleBytes = kMaxSplits * 4;
  static constexpr int kBytes = kScaleBytes + kGroups * kRowPieces * 16;
};

#ifndef EVOFLASH_HOST_ONLY
// A row's partial outputs, one for each split of the grid.
template <class Traits>
struct GridSplits {
  static constexpr int kRowPieces = CombineStorage<Traits>::kRowPieces;
  int count;
  const float2 *stats;
  const float4 *pieces;  // the thread's piece of the first

  __device__ __forceinline__ float2 stats_of(int split) const { return stats[split]; }
  __device__ __forceinline__ float4 piece_of(int split) const { return pieces[split * kRowPieces]; }
};

// Or one for each share that has a segment of its tile.
template <class Traits>
struct ShareSplits {
  static constexpr int kRowPieces = CombineStorage<Traits>::kRowPieces;
  const Shares<Traits> shares;
  const TilePlace place;
  const int first, count;  // shares
  const int row, piece;

  __device__ __forceinline__ ShareSplits(const Arguments<Traits> &args, int tile, int row, int piece)
      : shares(args),
        place(shares.place_of(tile)),
        first(place.first / shares.size),
        count(place.count == 0 ? 0 : (place.first + place.count - 1) / shares.size + 1 - first),
        row(row),
        piece(piece) {}

  __device__ __forceinline__ float2 stats_of(int split) const {
    return reinterpret_cast<const float2 *>(shares.args.stats)[record(split)];
  }
  __device__ __forceinline__ float4 piece_of(int split) const {
    return reinterpret_cast<const float4 *>(shares.args.partials)[record(split) * kRowPieces + piece];
  }

 private:
  __device__ __forceinline__ int64_t record(int split) const {
    const bool begins_in_it = split == 0 && place.first > first * shares.size;
    return int64_t(shares.slot(first + split, blockIdx.y, begins_in_it)) * Traits::kBlockM + row;
  }
};

// The scale of each split, in shared memory; the result is the row's maximum and sum. Each warp computes what all need.
template <class Splits>
__device__ __forceinline__ float2 split_scales_of_row(float *scales, const Splits &splits, float softmax_scale_log2) {
  constexpr int kPerLane = kMaxSplits / 32;
  const int lane = threadIdx.x % 32;
  float2 stat[kPerLane];
  float row_max = kNoMaximum, row_sum = 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int split = i * 32 + lane;
    stat[i] = split < splits.count ? splits.stats_of(split) : make_float2(kNoMaximum, 0);
    row_max = fmaxf(row_max, stat[i].x);
  }
  row_max = warp_reduce_max<32>(row_max);
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const float scale = exp2_from_max(stat[i].x, row_max, softmax_scale_log2);
    row_sum = fmaf(scale, stat[i].y, row_sum);
    if (threadIdx.x < 32) scales[i * 32 + lane] = scale;
  }
  return make_float2(row_max, warp_reduce_sum<32>(row_sum));
}

// Returns the row's maximum and sum.
template <class Traits, class Splits>
__device__ __forceinline__ float2 combine_splits(const HeadScales<Traits> &head, const Splits &splits,
                                                 unsigned char *to, unsigned char *shared_memory) {
  using Storage = CombineStorage<Traits>;
  constexpr int kRowPieces = Storage::kRowPieces, kGroups = Storage::kGroups;
  float *const scales = reinterpret_cast<float *>(shared_memory);
  float4 *const sums = reinterpret_cast<float4 *>(shared_memory + Storage::kScaleBytes);
  const int piece = threadIdx.x % kRowPieces, group = threadIdx.x / kRowPieces;

  // The first partial outputs are loaded together with the statistics, before their scales are known.
  constexpr int kEarly = 4;
  static_assert(kEarly * kGroups <= kMaxSplits);
  float4 early[kEarly];
#pragma unroll
  for (int i = 0; i < kEarly; ++i) {
    const int split = i * kGroups + group;
    early[i] = group < kGroups && split < splits.count ? splits.piece_of(split) : make_float4(0, 0, 0, 0);
  }
  const float2 total = split_scales_of_row(scales, splits, head.of_scores());
  __syncthreads();
  if (group < kGroups) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < kEarly; ++i) add_scaled(sum, early[i], scales[i * kGroups + group]);
#pragma unroll 4
    for (int split = kEarly * kGroups + group; split < splits.count; split += kGroups)
      add_scaled(sum, splits.piece_of(split), scales[split]);
    sums[threadIdx.x] = sum;
  }
  __syncthreads();
  if (group == 0) {
    float4 sum = sums[piece];
#pragma unroll
    for (int i = 1; i < kGroups; ++i) add_scaled(sum, sums[i * kRowPieces + piece], 1.0f);
    store_output<Traits>(to, piece, sum, total.y, head.of_outputs());
  }
  return total;
}

template <class Traits>
__device__ __forceinline__ void combine(const Arguments<Traits> &args, unsigned char *shared_memory) {
  constexpr int kRowPieces = CombineStorage<Traits>::kRowPieces;
  if constexpr (Traits::kIsEarly) launch_dependents();  // the next first kernel waits for this one to end
  const int piece = threadIdx.x % kRowPieces;
  const HeadScales<Traits> scales(args, blockIdx.y);
  int head;
  const int token = args.group.divmod(head, blockIdx.x);
  const int bidh = blockIdx.y * args.group.divisor + head;
  unsigned char *const to = row_of(args.out, blockIdx.z, bidh, token);
  float2 total;
  if constexpr (Traits::kIsShared) {
    const int m_block = blockIdx.x / Traits::kBlockM, tile = blockIdx.z * args.num_m_blocks.divisor + m_block;
    const ShareSplits<Traits> splits(args, tile, blockIdx.x % Traits::kBlockM, piece);
    if constexpr (Traits::kIsDependent) wait_for_prerequisites();
    if (splits.count == 1) return;  // the output is there
    total = combine_splits(scales, splits, to, shared_memory);
  } else {
    const int64_t row = (int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    if constexpr (Traits::kIsDependent) wait_for_prerequisites();
    const float4 *const pieces = reinterpret_cast<const float4 *>(args.partials);
    const float2 *const stats = reinterpret_cast<const float2 *>(args.stats);
    const GridSplits<Traits> splits{args.num_splits, stats + row * args.num_splits,
                                    pieces + row * args.num_splits * kRowPieces + piece};
    total = combine_splits(scales, splits, to, shared_memory);
  }
  if constexpr (Traits::kStoresLse) {
    if (threadIdx.x == 0) *args.lse.from(blockIdx.z, bidh, token) = log_sum_exp(total, scales.of_scores());
  }
}
#endif

}  // namespace evoflash::decode
