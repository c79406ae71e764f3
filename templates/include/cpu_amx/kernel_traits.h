#pragma once

// What follows from a Config: the parts of a number, and sizes in tiles.
#include <type_traits>

#include "cpu_amx/tile_registers.h"
#include "cpu_launcher.h"
#include "cpu_numeric_types.h"
#include "cpu_packed_kv.h"
#include "cpu_softmax.h"

namespace evoflash::cpu_amx {

template <class Traits>
struct Scratch;

template <class Config>
struct KernelTraits : Config {
  static_assert(
      kHasTiles,
      "this kernel is made of AMX tiles, which this processor (or compiler) lacks: search on this machine for "
      "another");
  static_assert(Config::kQkRows * Config::kQkColumns + Config::kQkRows + Config::kQkColumns <= 8,
                "S, Q and K must fit the eight tile registers");
  static_assert(Config::kPvRows * Config::kPvColumns + Config::kPvRows + Config::kPvColumns <= 8,
                "O, P and V must fit the eight tile registers");

  using typename Config::Element;
  using Scratch = cpu_amx::Scratch<KernelTraits>;
  using ThreadState = TileRegisters;
  static bool is_available() { return tiles_permitted(); }

  // bfloat16 numbers that make one.
  static constexpr int kParts = std::is_same_v<Element, Bfloat16> ? 1 : std::is_same_v<Element, Half> ? 2 : 3;

  using Unit = uint32_t;  // two neighbours of the summed index (VNNI)
  static constexpr int kVnni = 2;

  static constexpr int kBlockM = Config::kRowBlocks * kTileRows;   // query rows that share a walk over the keys
  static constexpr int kBlockN = Config::kKeyBlocks * kTileDepth;  // keys between two updates of the maximum

  static constexpr int kHeadTerms = round_up(Config::kHeadDim, kTileDepth);  // zeros at the end
  static constexpr int kHeadTiles = kHeadTerms / kTileDepth;
  static constexpr int kVTiles = round_up(ceil_div(Config::kValueDim, kTileRows), Config::kPvColumns);
  static constexpr int kKeyUnits = kParts * kHeadTerms / kVnni;
  static constexpr int kValueUnits = kParts * kVTiles * kTileRows;

  // Rows of Q, S and P are longer than needed, so that they do not all fall on the same cache sets.
  static constexpr int kQStride = kHeadTerms + kTileDepth;
  static constexpr int kSStride = round_up(kBlockN, Config::kQkColumns *kTileRows) + kLanes;
  static constexpr int kPStride = kBlockN + kTileDepth;
  static constexpr int kOStride = kVTiles * kTileRows;
};

}  // namespace evoflash::cpu_amx
