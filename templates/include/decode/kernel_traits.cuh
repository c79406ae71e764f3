#pragma once

#include "numeric_types.cuh"
#include "smem_tile.cuh"

namespace evoflash::decode {

// How K and V reach shared memory.
enum class Load {
  kCpAsync,  // each lane copies 16 bytes at a time
  kTma,      // one lane of each warp asks the copy engine for whole tiles
};

constexpr int kMaxSplits = 256;  // of the keys of a row, over the grid

// The type of weights and values in their product. Quantised values are exact in Half, and take one instruction to get
// there. Half has fewer exponents than Bfloat16: weights are multiplied by a power of two, and the output is divided.
template <class Element, bool kIsQuantized>
struct WeightOf {
  using Type = Element;
  static constexpr float kFactor = 1;
};
template <class Element>
struct WeightOf<Element, true> {
  using Type = Half;
  static constexpr float kFactor = 0x1p15f;
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr bool kIsTma = Config::kLoad == Load::kTma;
  static constexpr bool kIsCluster = Config::kCluster > 1;
  static constexpr bool kIsGridSplit = Config::kWaveBlocks > 0;
  static constexpr bool kIsShared = kIsGridSplit && Config::kHasLengths;  // blocks have equal shares of all keys
  static constexpr bool kIsPaged = Config::kPageSize > 0;
  static constexpr int kNumThreads = 32 * Config::kWarps;

  // Tiles of mma.sync: 16 keys, or 16 columns of a head, by 8 query rows.
  static constexpr int kTilesM = Config::kBlockM / 8;
  static constexpr int kTilesN = Config::kWarpN / 16;
  static constexpr int kTilesHead = (Config::kHeadDim + 15) / 16;

  static constexpr bool kHasHalfTile = Config::kHeadDim % 16 == 8;  // the last tile of a head has eight columns

  // Tiles have elements of 16 bits: quantised columns of K and V are two in one.
  static constexpr int kKvDims = Config::kIsQuantized ? Config::kHeadDim / 2 : Config::kHeadDim;
  static constexpr int kKvElementBytes = Config::kIsQuantized ? 1 : 2;
  using Panel = SmemPanel<Config::kHeadDim>;
  using KvPanel = SmemPanel<kKvDims>;
  static constexpr int kKvRowBytes = 2 * KvPanel::kDims * KvPanel::kCount;  // in shared memory
  static constexpr int kKvBytes = Config::kWarpN * kKvRowBytes;             // of K or V of a step
  static constexpr int kQBytes = Config::kBlockM * 2 * Panel::kDims * Panel::kCount;

  using Weight = typename WeightOf<typename Config::Element, Config::kIsQuantized>::Type;
  static constexpr float kWeightFactor = WeightOf<typename Config::Element, Config::kIsQuantized>::kFactor;

  // A step has whole pages, or is a part of one.
  static constexpr int kPageRows = kIsPaged && Config::kPageSize < Config::kWarpN ? Config::kPageSize : Config::kWarpN;
  static constexpr int kStepPages = Config::kWarpN / kPageRows;
  static_assert(!kIsPaged || (Config::kPageSize & (Config::kPageSize - 1)) == 0);
  static_assert(kStepPages <= 32, "a lane has the number of a page");
};

#ifndef EVOFLASH_HOST_ONLY
template <class Traits>
using TileOf = SmemTile<Traits::kHeadDim>;
template <class Traits>
using KvTileOf = SmemTile<Traits::kKvDims>;
#endif

}  // namespace evoflash::decode
