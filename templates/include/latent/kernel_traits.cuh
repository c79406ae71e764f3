#pragma once

#include "smem_tile.cuh"

namespace evoflash::latent {

// How keys reach shared memory.
enum class Load {
  kCpAsync,  // each thread copies 16 bytes at a time
  kTma,      // one thread asks the copy engine for whole tiles
};

// What follows from the constants that a kernel is rendered with.
template <class Config>
struct KernelTraits : Config {
  static constexpr bool kIsTma = Config::kLoad == Load::kTma;
  static constexpr bool kIsCluster = Config::kCluster > 1;
  static constexpr bool kIsGridSplit = Config::kWaveBlocks > 0;
  static constexpr int kNumThreads = 32 * Config::kWarps;

  using Panel = SmemPanel<Config::kHeadDim>;
  static_assert(Panel::kIsSwizzled, "key tiles are loaded by panels");
  static constexpr int kRowBytes = 2 * Config::kHeadDim;
  static constexpr int kKeyBytes = Config::kBlockN * kRowBytes;  // of a step
  static constexpr int kQBytes = Config::kBlockM * kRowBytes;

  static constexpr int kTilesM = Config::kBlockM / 16;

  // S = Q K^T. kDepthWarps warps share the columns of a head: each takes every kDepthWarps-th tile of 16 columns of a
  // panel. The others take other keys.
  static constexpr int kWarpN = Config::kBlockN / (Config::kWarps / Config::kDepthWarps);
  static constexpr int kTilesN = kWarpN / 16;
  static constexpr int kPanelTiles = Panel::kDims / 16;
  static constexpr int kWarpPanelTiles = kPanelTiles / Config::kDepthWarps;
  static constexpr int kTilesDepth = Panel::kCount * kWarpPanelTiles;
  static_assert(kTilesN > 0 && kWarpPanelTiles > 0);

  // O = P V. Each warp has kTilesOut tiles of 16 columns, which fill panels or divide one.
  static constexpr int kTilesOut = Config::kValueDim / 16 / Config::kWarps;
  static_assert(kTilesOut > 0 && (kTilesOut % kPanelTiles == 0 || kPanelTiles % kTilesOut == 0));

  // Rows in shared memory are padded, so that those that are read or written at once lie in different banks.
  static constexpr int kScoreStride = Config::kBlockN + 8;   // floats
  static constexpr int kWeightStride = Config::kBlockN + 8;  // elements

  // Pieces of partial outputs (see pieces.cuh).
  static constexpr int kPieceTiles = sizeof(typename Config::ElementPartial) == 2 ? 4 : 2;
  static constexpr int kLanePieces = 2 * kTilesOut / kPieceTiles;  // of a lane's part of a row
  static constexpr int kRowPieces = Config::kWarps * kLanePieces * 4;
  static_assert(2 * kTilesOut % kPieceTiles == 0);
};

#ifndef EVOFLASH_HOST_ONLY
template <class Traits>
using TileOf = SmemTile<Traits::kHeadDim>;
#endif

}  // namespace evoflash::latent
