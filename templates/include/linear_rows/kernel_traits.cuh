#pragma once

#include "linear/activations.h"

namespace evoflash::linear_rows {

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr bool kIsCluster = Config::kCluster > 1;
  static constexpr int kNumThreads = 32 * Config::kNumWarps;

  // A warp's accumulators: 16 columns of the output by 8 rows.
  static constexpr int kTilesM = Config::kRows / 8;
  static constexpr int kTilesN = Config::kColumns / 16;

  // A warp takes kUnroll chunks of 32 terms at a time, and then those that lie as many further on as all warps take.
  static constexpr int kChunkK = 32;
  static constexpr int kStepK = kChunkK * Config::kUnroll;
  static constexpr int kAllStepsK = kStepK * Config::kNumWarps * Config::kCluster;

  // The sums of each warp in shared memory. A row is four floats longer than the columns, so that those of the lanes of
  // a warp lie in different banks.
  static constexpr int kSumsStride = Config::kColumns + 4;
  static constexpr int kSumsFloats = Config::kRows * kSumsStride;
  static_assert(Config::kSmemBytes >= Config::kNumWarps * kSumsFloats * int(sizeof(float)),
                "the search space computes what the kernel takes");

  // Pairs of columns that a block finishes, and how many of them a thread does.
  static constexpr int kRowPairs = Config::kColumns / 2;
  static constexpr int kBlockPairs = Config::kRows * kRowPairs / Config::kCluster;
  static constexpr int kThreadPairs = (kBlockPairs + kNumThreads - 1) / kNumThreads;
};

}  // namespace evoflash::linear_rows
