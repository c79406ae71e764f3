#pragma once

// What follows from a Config: types and sizes of the packed operands and of the register blocks.
#include <type_traits>

#include "cpu_numeric_types.h"
#include "linear/activations.h"

namespace evoflash::cpu_linear {

using linear::Activation;

enum class Schedule { kStatic, kDynamic };  // of OpenMP

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <class Config>
struct KernelTraits : Config {
  using typename Config::Element;
  static constexpr bool kIsBf16Dot = Config::kIsBf16Dot;

  // What panels of the weight consist of. Dot products of bfloat16 take two neighbouring terms of the sum, in one
  // 32-bit unit. Operands that are widened in the microkernel are packed as stored: half the cache for a conversion at
  // each use.
  static constexpr int kUnitTerms = kIsBf16Dot ? 2 : 1;
  using Unit = std::conditional_t<kIsBf16Dot, uint32_t, std::conditional_t<Config::kIsWidenedAtUse, uint16_t, float>>;
  using RowUnit = std::conditional_t<kIsBf16Dot, uint32_t, float>;  // what is broadcast of a row of x
  using Operand = std::conditional_t<kIsBf16Dot, Bits, Floats>;     // a vector of either in the microkernel
  static_assert(sizeof(RowUnit) == 4, "a vector of either has kLanes units");

  static constexpr int kVectorTerms = kUnitTerms * kLanes;  // terms of the sum in a vector of units
};

}  // namespace evoflash::cpu_linear
