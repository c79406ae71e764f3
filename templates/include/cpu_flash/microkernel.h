#pragma once

// Both products, by the microkernel of outer products: an operand broadcast from a row (of Q or P) times vectors of a
// panel (of K or V).
#include "cpu_flash/scratch.h"
#include "cpu_outer_product.h"

namespace evoflash::cpu_flash {

// S of kQkRows queries with the keys of one panel.
template <class Traits>
static void score_block(float *acc_s, const typename Traits::RowUnit *q, const typename Traits::Unit *panel) {
  for (int unit = 0; unit < Traits::kHeadUnits; unit += Traits::kSumUnits) {
    const int left = Traits::kHeadUnits - unit;
    Floats sums[Traits::kQkRows][Traits::kQkVectors] = {};
    multiply<Traits>(sums, q + unit, Traits::kQStride, panel + unit * Traits::kPanelKeys, Traits::kPanelKeys,
                     left < Traits::kSumUnits ? left : Traits::kSumUnits);
#pragma GCC unroll 16
    for (int r = 0; r < Traits::kQkRows; ++r)
#pragma GCC unroll 16
      for (int v = 0; v < Traits::kQkVectors; ++v) {
        float *to = acc_s + r * Traits::kSStride + v * kLanes;
        store(to, unit == 0 ? sums[r][v] : load<Floats>(to) + sums[r][v]);
      }
  }
}

// O = O * scores_scale + P V for kPvRows rows and kVectors vectors of columns.
template <class Traits, int kVectors>
static void output_block(float *acc_o, const float *scores_scale, const float *p, const typename Traits::Unit *v,
                         int keys) {
  // The tile's own sum starts at zero and joins the others at its end: shorter chains of additions, less rounding.
  Floats sums[Traits::kPvRows][kVectors] = {};
  multiply<Traits>(sums, reinterpret_cast<const typename Traits::RowUnit *>(p), Traits::kSStride, v, Traits::kVWidth,
                   ceil_div(keys, Traits::kVnni));
#pragma GCC unroll 16
  for (int r = 0; r < Traits::kPvRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      float *to = acc_o + r * Traits::kOStride + v * kLanes;
      store(to, load<Floats>(to) * scores_scale[r] + sums[r][v]);
    }
}

}  // namespace evoflash::cpu_flash
