#pragma once

// What follows from a Config: types and sizes of the packed operands and of the register blocks.
#include <cstddef>
#include <type_traits>

#include "cpu_launcher.h"
#include "cpu_numeric_types.h"
#include "cpu_packed_kv.h"
#include "cpu_softmax.h"

namespace evoflash::cpu_flash {

template <class Traits>
struct Scratch;

template <class Config>
struct KernelTraits : Config {
  using typename Config::Element;
  using Scratch = cpu_flash::Scratch<KernelTraits>;
  using ThreadState = std::nullptr_t;  // none
  static constexpr bool is_available() { return true; }

  static constexpr bool kIsHalfPrecision = !std::is_same_v<Element, float>;
  static constexpr bool kIsBf16Dot = Config::kIsBf16Dot;

  // What the panels of K and V consist of. Dot products of bfloat16 take two neighbours of the summed index, in one
  // 32-bit unit (VNNI). Operands that are widened in the microkernel are packed as stored: half the cache for a
  // conversion at each use.
  static constexpr int kVnni = kIsBf16Dot ? 2 : 1;
  using Unit = std::conditional_t<kIsBf16Dot, uint32_t, std::conditional_t<Config::kIsWidenedAtUse, uint16_t, float>>;
  using RowUnit = std::conditional_t<kIsBf16Dot, uint32_t, float>;  // what is broadcast of a row of Q or P
  using Operand = std::conditional_t<kIsBf16Dot, Bits, Floats>;     // a vector of either in the microkernel

  static constexpr int kPanelKeys = Config::kQkVectors * kLanes;
  static constexpr int kBlockM = Config::kRowBlocks * Config::kQkRows;  // query rows that share a walk over the keys
  static constexpr int kBlockN = Config::kPanels * kPanelKeys;          // keys between two updates of the maximum

  static constexpr int kHeadUnits = Config::kHeadDim / kVnni;
  static constexpr int kVWidth = round_up(Config::kValueDim, kLanes);  // of a packed row of V, zeros at its end
  static constexpr int kVVectors = kVWidth / kLanes;
  static constexpr int kKeyUnits = kHeadUnits;
  static constexpr int kValueUnits = kVWidth;

  // Units of the head that are summed in one go: longer float32 sums gather more rounding than SDPA's.
  static constexpr int kSumUnits = kIsHalfPrecision || kHeadUnits < 32 ? kHeadUnits : 32;

  // Rows of Q and S are a vector longer than needed, so that they do not all fall on the same cache sets. The last
  // block of O may hang over the tile's end.
  static constexpr int kQStride = kHeadUnits + kLanes;
  static constexpr int kSStride = kBlockN + kLanes;
  static constexpr int kOStride = kVWidth;
  static constexpr int kORows = round_up(kBlockM, Config::kPvRows);

  // exp2_polynomial takes the low bits of what it gets for an exponent: a NaN of the inputs must not have any.
  static constexpr bool kIsQuietNan = !kIsHalfPrecision && Config::kExpScaling == ExpScaling::kBits;
};

}  // namespace evoflash::cpu_flash
