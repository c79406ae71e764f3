#pragma once

#include "mma/kernel_traits.cuh"
#include "softmax.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <bool kIsMasked>
struct MaskFragments {
  int visible[2];  // keys that a lane's two rows see
};
template <>
struct MaskFragments<false> {};

// What a warp holds in registers, by its tiles of 16 rows.
template <class Traits>
struct Fragments : MaskFragments<!Traits::kIsEvenN> {
  unsigned p[Traits::kTilesM][Traits::kWarpN / 16][4];        // P, A operands
  float acc_s[Traits::kTilesM][Traits::kTilesN][4];           // S, then P
  float acc_o[Traits::kTilesM][Traits::kTilesValue][4] = {};  // O, not yet divided by the rows' sums
  Softmax<2, Traits::kRescaleThreshold, Traits::kPolynomialShare> softmax[Traits::kTilesM];
};

}  // namespace evoflash::mma
#endif
