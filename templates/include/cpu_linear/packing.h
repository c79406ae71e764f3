#pragma once

// x and the weight into the layouts of the microkernels. Rows, columns and terms that fill up a block are zeros.
#include "cpu_linear/kernel_traits.h"

namespace evoflash::cpu_linear {

// kLanes units of a row of which `terms` terms are left, as what is multiplied.
template <class Traits>
EVOFLASH_INLINE typename Traits::Operand load_units(const typename Traits::Element *from, int terms) {
  using Element = typename Traits::Element;
  if constexpr (Traits::kIsBf16Dot)
    return load_part<Bits>(from, terms);
  else
    return to_floats<Element>(load_part<VectorOf<Element>>(from, terms));
}

// `rows` rows of x, from a term on of which `terms` are left: unit u of row r goes to [r * stride + u].
template <class Traits>
static void pack_x(typename Traits::RowUnit *to, int stride, const typename Traits::Element *x, int64_t x_stride,
                   int rows, int padded_rows, int terms, int units) {
  for (int row = 0; row < padded_rows; ++row)
    for (int unit = 0; unit < units; unit += kLanes) {
      const int left = row < rows ? terms - unit * Traits::kUnitTerms : 0;
      store(to + row * stride + unit,
            load_units<Traits>(x + row * x_stride + unit * Traits::kUnitTerms, left < 0 ? 0 : left));
    }
}

// kLanes units of a row as 32 bits each, as panels hold them.
template <class Traits>
EVOFLASH_INLINE Bits load_bits(const typename Traits::Element *from, int terms) {
  if constexpr (Traits::kIsWidenedAtUse)
    return __builtin_convertvector(load_part<Halves>(from, terms), Bits);
  else if constexpr (Traits::kIsBf16Dot)
    return load_units<Traits>(from, terms);
  else
    return as_bits(load_units<Traits>(from, terms));
}

// One panel of the weight: unit u of column c goes to [u * kPanelColumns + c].
template <class Traits>
static void pack_panel(typename Traits::Unit *panel, const typename Traits::Element *weight, int64_t stride,
                       int columns, int terms, int units) {
  for (int column = 0; column < Traits::kPanelColumns; column += kLanes)
    for (int unit = 0; unit < units; unit += kLanes) {
      Bits square[kLanes];
#pragma GCC unroll 16
      for (int row = 0; row < kLanes; ++row) {
        const int left = column + row < columns ? terms - unit * Traits::kUnitTerms : 0;
        square[row] =
            load_bits<Traits>(weight + (column + row) * stride + unit * Traits::kUnitTerms, left < 0 ? 0 : left);
      }
      transpose(square);
      typename Traits::Unit *to = panel + unit * Traits::kPanelColumns + column;
#pragma GCC unroll 16
      for (int row = 0; row < kLanes; ++row) {
        if constexpr (Traits::kIsWidenedAtUse)
          store(to + row * Traits::kPanelColumns, __builtin_convertvector(square[row], Halves));
        else
          store(to + row * Traits::kPanelColumns, square[row]);
      }
    }
}

}  // namespace evoflash::cpu_linear
