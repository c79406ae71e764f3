#pragma once

namespace evoflash::mma {

// How keys and values reach shared memory.
enum class Load { kCpAsync, kTma };

// Which blocks share the keys of the same rows: blocks of the grid, combined by a second kernel, or a cluster.
enum class SplitBy { kGrid, kCluster };

// How the partial outputs of a tile's slices become one.
enum class Merge {
  kNone,            // there is one slice
  kWarps,           // the warps of a block, each some rows of all slices
  kClusterRows,     // the blocks of a cluster, each some rows of all slices
  kClusterColumns,  // the blocks of a cluster, each some columns; a block has one slice
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr bool kIsCluster = Config::kNumSplits > 1 && Config::kSplitBy == SplitBy::kCluster;
  static constexpr bool kIsSplitKv = Config::kNumSplits > 1 && Config::kSplitBy == SplitBy::kGrid;
  static constexpr bool kIsTma = Config::kLoad == Load::kTma;
  static constexpr Merge kMerge = !kIsCluster            ? Config::kWarpsN > 1 ? Merge::kWarps : Merge::kNone
                                  : Config::kWarpsN == 1 ? Merge::kClusterColumns
                                                         : Merge::kClusterRows;

  // The warps of a block stand in a grid: kWarpsM share its rows, kWarpsN its keys, a slice each.
  static constexpr int kNumWarps = Config::kWarpsM * Config::kWarpsN;
  static constexpr int kNumThreads = 32 * kNumWarps;
  static constexpr int kSliceThreads = 32 * Config::kWarpsM;
  static constexpr int kWarpM = Config::kBlockM / Config::kWarpsM;  // rows of a warp
  static constexpr int kBlockN =
      Config::kWarpN * Config::kWarpsN * Config::kNumSplits;  // keys of a step, of all slices
  static constexpr int kChunkN = Config::kWarpN / Config::kChunks;

  // Fragments of a warp.
  static constexpr int kTilesM = kWarpM / 16;                   // operands over the rows
  static constexpr int kTilesK = (Config::kHeadDim + 15) / 16;  // operands over the head dimension, as the K of Q K^T
  static constexpr bool kIsLastKHalf = Config::kHeadDim % 16 != 0;  // the last of these has eight columns
  static constexpr int kTilesN = Config::kWarpN / 8;                // accumulators over the keys
  static constexpr int kTilesValue = Config::kValueDim / 8;         // accumulators over the columns of V, the N of P V

  // Whether tiles never end beyond the last row, and steps never beyond the last key that is seen.
  static constexpr bool kIsEvenM = Config::kHasFixedSizes && Config::kSeqQ % Config::kBlockM == 0;
  static constexpr bool kIsEvenN =
      Config::kHasFixedSizes && !Config::kIsCausal && !Config::kIsBanded && Config::kSeqKv % kBlockN == 0;

  // The number of steps where all tiles have the same; otherwise not used.
  static constexpr int kNumSteps = (Config::kSeqKv + kBlockN - 1) / kBlockN;

  // Whether a warp may find no key that its rows see in a step.
  static constexpr bool kMaySkip =
      !kIsEvenN && (Config::kIsOnline || Config::kIsCausal || Config::kIsBanded || Config::kIsPacked || kIsTma);

  static_assert(!Config::kIsPacked || (!Config::kHasFixedSizes && !kIsTma && !kIsSplitKv),
                "sequences have sizes of their own; TMA fills with zeros only beyond the last of them");
};

}  // namespace evoflash::mma
