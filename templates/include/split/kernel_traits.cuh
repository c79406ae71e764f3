#pragma once

#include "tma.cuh"

namespace evoflash::split {

// Over how many keys at a time softmax is computed.
enum class SoftmaxMode {
  kOnline,   // step by step
  kOneShot,  // all keys of a split at once
};

// Which keys the maximum is taken of before the first probability of a step is computed.
enum class MaxMode {
  kStep,     // all of the step's
  kRunning,  // one part's at a time
};

// How partial outputs become one.
enum class Merge {
  kNone,     // there is only one
  kColumns,  // each block of a cluster merges some columns of all rows
  kRows,     // each block merges some rows
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr bool kIsCluster = Config::kCluster > 1;
  static constexpr bool kIsOnline = Config::kSoftmaxMode == SoftmaxMode::kOnline;
  static constexpr bool kIsRunningMax = Config::kMaxMode == MaxMode::kRunning;
  static constexpr int kNumSplits = Config::kSplitsPerBlock * Config::kCluster;
  static constexpr Merge kMerge = kNumSplits == 1                ? Merge::kNone
                                  : Config::kSplitsPerBlock == 1 ? Merge::kColumns
                                                                 : Merge::kRows;

  // Rows. A warp's accumulators have 16 rows. If kWarpM is 8, the lower eight are empty.
  static constexpr int kWarpgroupM = 4 * Config::kWarpM;
  static constexpr int kBlockM = kWarpgroupM * Config::kRowGroups;
  static constexpr int kRowsPerLane = Config::kWarpM / 8;

  static constexpr int kSplitWarps = 4 * Config::kRowGroups;  // that share a split of the keys
  static constexpr int kNumThreads = 32 * kSplitWarps * Config::kSplitsPerBlock;

  // Keys.
  static constexpr int kStepKeys = Config::kBlockN * kNumSplits;      // of all splits
  static constexpr int kPartKeys = Config::kBlockN / Config::kParts;  // which are loaded and multiplied together

  // Whether all tiles, or all splits, are known to be whole: then nothing is masked.
  static constexpr bool kIsExactM = Config::kHasFixedSizes && Config::kSeqQ % kBlockM == 0;
  static constexpr bool kIsExactN = Config::kHasFixedSizes && !Config::kIsCausal && !Config::kIsBanded &&
                                    Config::kSeqKv % (Config::kBlockN * kNumSplits) == 0;
  static constexpr bool kMayPassEnd = kIsOnline || !kIsExactN;  // whether a step may lie beyond the last visible key

  // Fragments of a warpgroup.
  static constexpr int kHeadSteps = (Config::kHeadDim + 15) / 16;  // products over the head dimension, the K of Q K^T
  static constexpr int kKeySteps = kPartKeys / 16;                 // products over the keys of a part, the K of P V
  static constexpr int kTilesN = kPartKeys / 8;                    // accumulators over the keys of a part
  static constexpr int kTilesValue = Config::kValueDim / 8;        // accumulators over the columns of V, the N of P V

  // Tiles in shared memory consist of panels (tma.cuh), whose rows are 128 bytes for wgmma. Of a last panel that is not
  // full, Q K^T reads only the steps that have columns, and P V only the columns themselves.
  using Panel = TmaPanel<Config::kHeadDim, 64>;                        // of Q and K
  using ValuePanel = TmaPanel<Config::kValueDim, 64>;                  // of V
  static constexpr int kQPanelBytes = kWarpgroupM * Panel::kRowBytes;  // of a warpgroup
  static constexpr int kKvPanelBytes = Config::kBlockN * Panel::kRowBytes;
  static constexpr int kQBytes = Config::kRowGroups * Panel::kCount * kQPanelBytes;
  static constexpr int kKBytes = Panel::kCount * kKvPanelBytes;  // of a step
  static constexpr int kVBytes = ValuePanel::kCount * kKvPanelBytes;
};

}  // namespace evoflash::split
