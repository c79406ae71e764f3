#pragma once

#include "fused_linear.h"
#include "launch.cuh"
#include "linear/epilogue.cuh"
#include "programmatic_launch.cuh"

// Split-K: kNumSplits blocks multiply parts of the same sums and leave them in the workspace. A second kernel adds them
// in the order of the parts, so that the result never depends on which block came first, and applies the epilogue.
namespace evoflash::linear {

struct MergeArguments {
  const float *partials;  // [part][m][n]
  EpilogueArguments epilogue;
  int m, n;
};

inline constexpr int kMergeThreads = 256;
inline constexpr int kMergeColumns = 8;  // of a thread: 16 bytes of the output

#ifndef EVOFLASH_DEVICE_ONLY
namespace {

// The kernel, and the one that adds the parts of split-K.
struct Kernels {
  Kernel *multiply, *merge;
};

inline size_t partials_bytes(const FusedLinear &problem, int splits) {
  return splits == 1 ? 0 : size_t(splits) * problem.x.size[0] * problem.weight.size[0] * sizeof(float);
}

inline MergeArguments make_merge_arguments(const FusedLinear &problem) {
  return {
      static_cast<const float *>(problem.workspace),         make_rows(problem.residual), make_rows(problem.out),
      static_cast<const unsigned char *>(problem.bias.data), int(problem.x.size[0]),      int(problem.weight.size[0])};
}

inline bool can_merge(const FusedLinear &problem) {
  return problem.x.size[0] * (problem.weight.size[0] / kMergeColumns) <= int64_t(INT32_MAX) * kMergeThreads;
}

inline int launch_merge(Kernel &kernel, const FusedLinear &problem, bool is_dependent, void *stream) {
  const int64_t threads = problem.x.size[0] * (problem.weight.size[0] / kMergeColumns);
  const Shape shape = {unsigned((threads + kMergeThreads - 1) / kMergeThreads), kMergeThreads, 0, 1, is_dependent};
  return evoflash::launch(kernel, shape, stream, make_merge_arguments(problem));
}

}  // namespace
#endif

#ifndef EVOFLASH_HOST_ONLY
// The second kernel: a thread adds the parts of eight columns.
template <class Element, Activation kActivation, int kNumSplits, bool kIsEarly>
__device__ __forceinline__ void merge(const MergeArguments &args) {
  if constexpr (kIsEarly) {
    wait_for_prerequisites();
    launch_dependents();
  }
  const int64_t thread = int64_t(blockIdx.x) * kMergeThreads + threadIdx.x, row_threads = args.n / kMergeColumns;
  if (thread >= args.m * row_threads) return;
  const int row = int(thread / row_threads), column = int(thread % row_threads) * kMergeColumns;
  const float *part = args.partials + int64_t(row) * args.n + column;
  float4 parts[kNumSplits][2];
#pragma unroll
  for (int split = 0; split < kNumSplits; ++split, part += int64_t(args.m) * args.n)
#pragma unroll
    for (int i = 0; i < 2; ++i) parts[split][i] = reinterpret_cast<const float4 *>(part)[i];
  float sums[8] = {};
#pragma unroll
  for (int split = 0; split < kNumSplits; ++split)
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      sums[4 * i] += parts[split][i].x;
      sums[4 * i + 1] += parts[split][i].y;
      sums[4 * i + 2] += parts[split][i].z;
      sums[4 * i + 3] += parts[split][i].w;
    }
  finish_8<Element, kActivation>(sums, args.epilogue, row, column);
}
#endif

}  // namespace evoflash::linear
