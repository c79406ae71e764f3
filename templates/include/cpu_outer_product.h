#pragma once

// The microkernel of a product of matrices: a block of accumulators in registers, an operand broadcast from a row times
// vectors of a panel.
//
// A family's Traits name the Unit that panels consist of, the RowUnit that is broadcast, the Operand that is a vector
// of either, and the Element that units are widened from where kIsWidenedAtUse; and kUnroll, kPrefetch.
#include "cpu_loops.h"
#include "cpu_numeric_types.h"

namespace evoflash {

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

}  // namespace evoflash
