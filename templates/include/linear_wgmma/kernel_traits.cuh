#pragma once

#include "linear/activations.h"
#include "tma_matrix.cuh"

namespace evoflash::linear_wgmma {

// How a tile comes to the warpgroups of a block.
enum class Schedule {
  kCooperative,  // they share the rows of each tile
  kPingPong,     // they take turns: the products of one's tile run under the epilogue of the other's
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr int kBlockK = MatrixPanel::kColumns;  // terms of the sum in a stage
  static constexpr int kStepK = 16;                      // terms of an instruction

  static constexpr int kCluster = Config::kClusterM * Config::kClusterN;
  static constexpr bool kIsCluster = kCluster > 1;
  static constexpr bool kIsSplitK = Config::kNumSplits > 1;
  static constexpr bool kIsPingPong = Config::kSchedule == Schedule::kPingPong;

  static constexpr int kConsumerThreads = 128 * Config::kNumWarpgroups;
  static constexpr int kNumThreads = kConsumerThreads + 128;
  static constexpr bool kMovesRegisters = Config::kProducerRegisters > 0;

  // A warpgroup's part of a tile: row blocks of 64 rows, by all columns.
  static constexpr int kWarpgroupM = Config::kBlockM / (kIsPingPong ? 1 : Config::kNumWarpgroups);
  static constexpr int kRowBlocks = kWarpgroupM / 64;
  static constexpr int kTilesN = Config::kBlockN / 8;  // accumulators of a row block

  // The epilogue goes through the output by chunks of 64 rows and 64 columns, each in a buffer that is a TMA box.
  static constexpr int kPanels = Config::kBlockN / MatrixPanel::kColumns;
  static constexpr int kChunks = kPanels * kRowBlocks;
  static constexpr int kChunkBytes = 64 * MatrixPanel::kRowBytes;
  static constexpr int kBuffers = kIsSplitK ? 0 : Config::kEpilogueBuffers;  // of each warpgroup
  static_assert(kIsSplitK || kChunks % Config::kEpilogueBuffers == 0, "a chunk's buffer is the same in every tile");

  static constexpr int kXBytes = Config::kBlockM * MatrixPanel::kRowBytes;  // of a stage
  static constexpr int kWeightBytes = Config::kBlockN * MatrixPanel::kRowBytes;

  // The boxes of a stage that a block of a cluster loads: a part of what it shares with others, for all of them.
  static constexpr int kXBoxRows = Config::kBlockM / Config::kClusterN;
  static constexpr int kWeightBoxRows = Config::kBlockN / Config::kClusterM;

  // A stage of a tile is read by one warpgroup or by all.
  static constexpr int kReaderWarps = (kIsPingPong ? 1 : Config::kNumWarpgroups) * 4 * kCluster;
};

}  // namespace evoflash::linear_wgmma
