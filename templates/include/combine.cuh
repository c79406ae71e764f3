#pragma once

#include "checks.cuh"
#include "launch.cuh"
#include "pairs.cuh"
#include "split_partials.cuh"
#include "split_scales.cuh"
#include "tensors.cuh"

// The second kernel of split-KV, which combines the partial outputs of all splits (split_partials.cuh). A thread takes
// eight columns of a row; the grid has a row of blocks for each head and batch.
namespace evoflash {

constexpr int kCombineThreads = 128;

// Threads that share a row.
template <int kHeadDim>
constexpr int kCombineThreadsPerRow = kHeadDim / 8;

#ifndef EVOFLASH_HOST_ONLY
// acc += scale * part, for eight columns.
template <class ElementPartial>
__device__ __forceinline__ void add_scaled(float (&acc)[8], const unsigned char *part, float scale) {
  if constexpr (kIsNormalized<ElementPartial>) {
    const Elements<ElementPartial, 8> values = load<8>(reinterpret_cast<const ElementPartial *>(part));
#pragma unroll
    for (int i = 0; i < 8; ++i) acc[i] = fmaf(to_float(values.at[i]), scale, acc[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float4 four = reinterpret_cast<const float4 *>(part)[i];
      acc[4 * i] = fmaf(four.x, scale, acc[4 * i]);
      acc[4 * i + 1] = fmaf(four.y, scale, acc[4 * i + 1]);
      acc[4 * i + 2] = fmaf(four.z, scale, acc[4 * i + 2]);
      acc[4 * i + 3] = fmaf(four.w, scale, acc[4 * i + 3]);
    }
  }
}

// The columns of a unit, of eight, of a row, which is the splits' row number `from`.
template <class ElementPartial, int kHeadDim, int kNumSplits>
__device__ __forceinline__ void combine_columns(float (&acc)[8], const SplitPartials &partials,
                                                const float (&scales)[kNumSplits], int64_t from, int unit) {
  constexpr int kRowBytes = kPartialRowBytes<ElementPartial, kHeadDim>;
#pragma unroll
  for (int split = 0; split < kNumSplits; ++split) {
    const unsigned char *row_of_split = partials.out + (split * partials.rows + from) * kRowBytes;
    add_scaled<ElementPartial>(acc, row_of_split + unit * (kRowBytes / kCombineThreadsPerRow<kHeadDim>), scales[split]);
  }
}

// The kernel's arguments, of which each is read where it is needed: partials, out and seq_q; with a log-sum-exp also
// lse and softmax_scale_log2.
template <class Element, class ElementPartial, int kHeadDim, int kNumSplits, bool kMayBeBlind = false,
          bool kStoresLse = false, class Arguments>
__device__ __forceinline__ void combine(const Arguments &args) {
  constexpr int kThreadsPerRow = kCombineThreadsPerRow<kHeadDim>;
  const int item = blockIdx.x * kCombineThreads + threadIdx.x, row = item / kThreadsPerRow,
            unit = item % kThreadsPerRow;
  if (row >= args.seq_q) return;
  const int64_t from = (int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * args.seq_q + row;
  float scales[kNumSplits];
  const float2 total = split_scales<ElementPartial>(
      scales, reinterpret_cast<const float2 *>(args.partials.stats) + from, args.partials.rows);
  if constexpr (kStoresLse) {
    if (unit == 0)
      *args.lse.from(blockIdx.z, blockIdx.y, row) = log_sum_exp(total, ScoreScale(args.softmax_scale_log2));
  }
  normalize_scales<kMayBeBlind>(scales, total.y);
  float acc[8] = {};
  combine_columns<ElementPartial, kHeadDim>(acc, args.partials, scales, from, unit);
  store_8<Element>(row_of(args.out, blockIdx.z, blockIdx.y, row) + unit * 16, acc);
}
#endif

#ifndef EVOFLASH_DEVICE_ONLY
namespace {

template <int kHeadDim>
bool can_combine(const AttentionProblem &problem) {
  return fits_grid(problem.heads, problem.batch) &&
         int64_t(problem.seq_q) * kCombineThreadsPerRow<kHeadDim> <= INT32_MAX - kCombineThreads;
}

// Launches the kernel of a family that calls combine().
template <int kHeadDim, class Arguments>
int launch_combine(Kernel &kernel, const AttentionProblem &problem, const Arguments &arguments, void *stream) {
  const unsigned threads = problem.seq_q * kCombineThreadsPerRow<kHeadDim>;
  const Dim grid((threads + kCombineThreads - 1) / kCombineThreads, problem.heads, problem.batch);
  return launch(kernel, {grid, kCombineThreads}, stream, arguments);
}

}  // namespace
#endif

}  // namespace evoflash
