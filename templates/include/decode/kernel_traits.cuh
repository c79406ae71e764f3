#pragma once

#include "smem_tile.cuh"

namespace evoflash::decode {

// How K and V reach shared memory.
enum class Load {
  kCpAsync,  // each lane copies 16 bytes at a time
  kTma,      // one lane of each warp asks the copy engine for whole tiles
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr bool kIsTma = Config::kLoad == Load::kTma;
  static constexpr bool kIsCluster = Config::kCluster > 1;
  static constexpr bool kIsGridSplit = Config::kWaveBlocks > 0;
  static constexpr int kNumThreads = 32 * Config::kWarps;

  // Tiles of mma.sync: 16 keys, or 16 columns of a head, by 8 query rows.
  static constexpr int kTilesM = Config::kBlockM / 8;
  static constexpr int kTilesN = Config::kWarpN / 16;
  static constexpr int kTilesHead = (Config::kHeadDim + 15) / 16;

  // Rows in shared memory end with zeros where the head size is no multiple of 16.
  static constexpr int kSmemDim = (Config::kHeadDim + 31) / 32 * 32;
  static constexpr int kKvBytes = 2 * Config::kWarpN * kSmemDim;  // of K or V of a step
  static constexpr int kQBytes = 2 * Config::kBlockM * kSmemDim;
};

#ifndef EVOFLASH_HOST_ONLY
template <class Traits>
using TileOf = SmemTile<Traits::kSmemDim>;
#endif

}  // namespace evoflash::decode
