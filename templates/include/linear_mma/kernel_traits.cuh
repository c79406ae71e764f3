#pragma once

#include "linear/activations.h"
#include "linear/raster.cuh"
#include "smem_tile.cuh"

namespace evoflash::linear_mma {

// How the blocks that add parts of the same sums bring them together.
enum class Merge {
  kGrid,     // through the workspace, by a second kernel
  kCluster,  // through the shared memory of a cluster (sm_90)
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr bool kIsSplitK = Config::kNumSplits > 1;
  static constexpr bool kHasPartials = kIsSplitK && Config::kMerge == Merge::kGrid;
  static constexpr bool kIsCluster = kIsSplitK && Config::kMerge == Merge::kCluster;
  static constexpr int kCluster = kIsCluster ? Config::kNumSplits : 1;

  static constexpr int kNumThreads = 32 * Config::kWarpsM * Config::kWarpsN;

  // A warp's part of a tile, in accumulators of 16 rows by 8 columns.
  static constexpr int kWarpM = Config::kBlockM / Config::kWarpsM;
  static constexpr int kWarpN = Config::kBlockN / Config::kWarpsN;
  static constexpr int kTilesM = kWarpM / 16;
  static constexpr int kTilesN = kWarpN / 8;
  static constexpr int kStepsK = Config::kBlockK / 16;

  // A stage: rows of x, then of the weight.
  static constexpr int kXBytes = 2 * Config::kBlockM * Config::kBlockK;
  static constexpr int kWeightBytes = 2 * Config::kBlockN * Config::kBlockK;
  static constexpr int kStageBytes = kXBytes + kWeightBytes;

  // Sums that the blocks of a cluster exchange take the place of the stages. Rows are eight floats longer than a
  // tile's, so that those of the lanes of a warp lie in different banks.
  static constexpr int kSumsStride = Config::kBlockN + 8;
  static constexpr int kSumsBytes = kIsCluster ? Config::kBlockM * kSumsStride * int(sizeof(float)) : 0;
  static_assert(Config::kSmemBytes >= Config::kStages * kStageBytes && Config::kSmemBytes >= kSumsBytes,
                "the search space computes what the kernel takes");
};

#ifndef EVOFLASH_HOST_ONLY
template <class Traits>
using Accumulators = float[Traits::kTilesM][Traits::kTilesN][4];

// Where a block's tile starts in the output, and its part of the sum.
struct TileCoord {
  int row, column, split;
};
#endif

}  // namespace evoflash::linear_mma
