#pragma once

#include "decode/arguments.cuh"
#include "decode/output.cuh"
#include "launch.cuh"
#include "programmatic_launch.cuh"
#include "softmax.cuh"
#include "warp.cuh"

// The second kernel, which merges the partial outputs of a row over the splits of the grid. A block has a row; the grid
// has rows, key-value heads and batches.
namespace evoflash::decode {

constexpr int kCombineThreads = 256;
constexpr int kMaxSplits = 256;  // a thread's scale each

// Shared memory: the scale of each split, then the sums of the threads that share a piece.
template <class Traits>
struct CombineStorage {
  static constexpr int kRowPieces = Traits::kHeadDim / 4;
  // Threads that share a piece, each with some of the splits.
  static constexpr int kGroups = kCombineThreads / kRowPieces < 32 ? kCombineThreads / kRowPieces : 32;
  static constexpr int kScaleBytes = kMaxSplits * 4;
  static constexpr int kBytes = kScaleBytes + kGroups * kRowPieces * 16;
};

#ifndef EVOFLASH_HOST_ONLY
// The scale of each split, in shared memory; the result is the row's sum. Each warp computes what all need.
__device__ __forceinline__ float split_scales_of_row(float *scales, const float2 *stats, int num_splits,
                                                     float softmax_scale_log2) {
  constexpr int kPerLane = kMaxSplits / 32;
  const int lane = threadIdx.x % 32;
  float2 stat[kPerLane];
  float row_max = kNoMaximum, row_sum = 0;
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int split = i * 32 + lane;
    stat[i] = split < num_splits ? stats[split] : make_float2(kNoMaximum, 0);
    row_max = fmaxf(row_max, stat[i].x);
  }
  row_max = warp_reduce_max<32>(row_max);
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const float scale = exp2_from_max(stat[i].x, row_max, softmax_scale_log2);
    row_sum = fmaf(scale, stat[i].y, row_sum);
    if (threadIdx.x < 32) scales[i * 32 + lane] = scale;
  }
  return warp_reduce_sum<32>(row_sum);
}

template <class Traits>
__device__ __forceinline__ void combine(const Arguments<Traits> &args, unsigned char *shared_memory) {
  using Storage = CombineStorage<Traits>;
  constexpr int kRowPieces = Storage::kRowPieces, kGroups = Storage::kGroups;
  float *const scales = reinterpret_cast<float *>(shared_memory);
  float4 *const sums = reinterpret_cast<float4 *>(shared_memory + Storage::kScaleBytes);
  const int piece = threadIdx.x % kRowPieces, group = threadIdx.x / kRowPieces;
  const int64_t row = (int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  int head;
  const int token = args.group.divmod(head, blockIdx.x);
  unsigned char *const to = row_of(args.out, blockIdx.z, blockIdx.y * args.group.divisor + head, token);
  if constexpr (Traits::kIsDependent) wait_for_prerequisites();

  // The first partial outputs are loaded together with the statistics, before their scales are known.
  constexpr int kEarly = 4;
  static_assert(kEarly * kGroups <= kMaxSplits);
  const float4 *const from =
      reinterpret_cast<const float4 *>(args.partials) + row * args.num_splits * kRowPieces + piece;
  float4 early[kEarly];
#pragma unroll
  for (int i = 0; i < kEarly; ++i) {
    const int split = i * kGroups + group;
    early[i] = group < kGroups && split < args.num_splits ? from[split * kRowPieces] : make_float4(0, 0, 0, 0);
  }
  const float row_sum =
      split_scales_of_row(scales, reinterpret_cast<const float2 *>(args.stats) + row * args.num_splits, args.num_splits,
                          args.softmax_scale_log2);
  __syncthreads();
  if (group < kGroups) {
    float4 sum = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int i = 0; i < kEarly; ++i) add_scaled(sum, early[i], scales[i * kGroups + group]);
#pragma unroll 4
    for (int split = kEarly * kGroups + group; split < args.num_splits; split += kGroups)
      add_scaled(sum, from[split * kRowPieces], scales[split]);
    sums[threadIdx.x] = sum;
  }
  __syncthreads();
  if (group == 0) {
    float4 sum = sums[piece];
#pragma unroll
    for (int i = 1; i < kGroups; ++i) add_scaled(sum, sums[i * kRowPieces + piece], 1.0f);
    store_output<Traits>(to, piece, sum, row_sum);
  }
}
#endif

}  // namespace evoflash::decode
