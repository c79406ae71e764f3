#pragma once

// The microkernel of both products: a block of accumulators in registers, an operand broadcast from a row (of Q or P)
// times vectors of a panel (of K or V).
#include "cpu_flash/scratch.h"
#include "cpu_loops.h"

namespace evoflash::cpu_flash {

template <class Traits>
EVOFLASH_INLINE typename Traits::Operand load_operand(const typename Traits::Unit *from) {
  if constexpr (Traits::kIsWidenedAtUse)
    return to_floats<typename Traits::Element>(load<Halves>(from));
  else
    return load<typename Traits::Operand>(from);
}

EVOFLASH_INLINE Bits broadcast(uint32_t pair) { return Bits{} + pair; }
EVOFLASH_INLINE Floats broadcast(float value) { return all(value); }

EVOFLASH_INLINE void multiply_add(Floats &sum, Floats a, Floats b) { sum += a * b; }

// Dot products of pairs of bfloat16.
EVOFLASH_INLINE void multiply_add(Floats &sum, Bits a, Bits b) {
#if defined(__AVX512BF16__)
  sum = (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
  sum += as_floats(a << 16) * as_floats(b << 16);
  sum += as_floats(a & 0xffff0000) * as_floats(b & 0xffff0000);
#endif
}

// sums[r][v] += rows[r][i] * panel[i][v] over `depth` units i.
template <class Traits, int kRows, int kVectors>
EVOFLASH_INLINE void multiply(Floats (&sums)[kRows][kVectors], const typename Traits::RowUnit *rows, int row_stride,
                              const typename Traits::Unit *panel, int panel_stride, int depth) {
  unrolled_for<Traits::kUnroll>(depth, 1, [&](int i) EVOFLASH_INLINE_LAMBDA {
    const typename Traits::Unit *line = panel + (int64_t)i * panel_stride;
    typename Traits::Operand vectors[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) {
      vectors[v] = load_operand<Traits>(line + v * kLanes);
      if constexpr (Traits::kPrefetch > 0) __builtin_prefetch(line + Traits::kPrefetch * panel_stride + v * kLanes);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const typename Traits::Operand row = broadcast(rows[r * row_stride + i]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) multiply_add(sums[r][v], row, vectors[v]);
    }
  });
}

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
