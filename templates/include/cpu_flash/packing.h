#pragma once

// Q, K and V into the layouts of the microkernel.
#include "cpu_flash/scratch.h"

namespace evoflash::cpu_flash {

// NaNs without their payload.
EVOFLASH_INLINE Floats quiet_nan(Floats floats) {
  return as_floats(select((Ints)(floats != floats), as_bits(all(NAN)), as_bits(floats)));
}

// Elements as float32, up to kLanes; zeros beyond the first `count`.
template <class Traits>
EVOFLASH_INLINE Floats load_floats(const typename Traits::Element *from, int count) {
  using Element = typename Traits::Element;
  const Floats floats = to_floats<Element>(load_part<VectorOf<Element>>(from, count));
  if constexpr (Traits::kIsQuietNan) return quiet_nan(floats);
  return floats;
}

// The same for quantised ones.
template <class Traits>
EVOFLASH_INLINE Floats load_floats(const Float8 *from, int count) {
  return from_float8(load_part<Bytes>(from, count));
}

// Elements of K or V of 16 bits, up to kLanes; they have quantised ones exactly.
template <class Traits>
EVOFLASH_INLINE Halves load_halves(const KvElementOf<Traits> *from, int count) {
  if constexpr (Traits::kIsQuantized)
    return from_floats<typename Traits::Element>(load_floats<Traits>(from, count));
  else
    return load_part<Halves>(from, count);
}

// kLanes units of K, as 32 bits each.
template <class Traits>
EVOFLASH_INLINE Bits load_units(const KvElementOf<Traits> *from, int count) {
  if constexpr (Traits::kIsBf16Dot && Traits::kIsQuantized) {
    const Halves pairs[] = {load_halves<Traits>(from, count),
                            load_halves<Traits>(from + kLanes, count > kLanes ? count - kLanes : 0)};
    return load<Bits>(pairs);
  } else if constexpr (Traits::kIsBf16Dot) {
    return load_part<Bits>(from, count);
  } else if constexpr (Traits::kIsWidenedAtUse) {
    return __builtin_convertvector(load_halves<Traits>(from, count), Bits);
  } else {
    return as_bits(load_floats<Traits>(from, count));
  }
}

// One panel: unit u of key k goes to panel[u * kPanelKeys + k]; keys from `count` on are zeros.
template <class Traits, class Rows>
static void pack_k_panel(typename Traits::Unit *panel, Rows k, int count) {
  for (int key = 0; key < Traits::kPanelKeys; key += kLanes)
    for (int unit = 0; unit < Traits::kHeadUnits; unit += kLanes) {
      Bits square[kLanes];
#pragma GCC unroll 16
      for (int row = 0; row < kLanes; ++row) {
        const KvElementOf<Traits> *from = k.at(key + row) + unit * Traits::kVnni;
        const int elements = key + row < count ? Traits::kHeadDim - unit * Traits::kVnni : 0;
        square[row] = load_units<Traits>(from, elements);
      }
      transpose(square);
      typename Traits::Unit *to = panel + unit * Traits::kPanelKeys + key;
#pragma GCC unroll 16
      for (int row = 0; row < kLanes; ++row)
        if (unit + row < Traits::kHeadUnits) {
          if constexpr (Traits::kIsWidenedAtUse)
            store(to + row * Traits::kPanelKeys, __builtin_convertvector(square[row], Halves));
          else
            store(to + row * Traits::kPanelKeys, square[row]);
        }
    }
}

// Rows of V padded with zeros to whole vectors. For dot products, rows 2p and 2p + 1 are interleaved: unit d of row p
// is {V[2p][d], V[2p + 1][d]}, and an odd last row is paired with zeros.
template <class Traits, class Rows>
static void pack_v(typename Traits::Unit *packed, Rows v, int count) {
  using Element = KvElementOf<Traits>;
  for (int row = 0; row < count; row += Traits::kVnni)
    for (int column = 0; column < Traits::kVWidth; column += kLanes) {
      const Element *from = v.at(row) + column;
      typename Traits::Unit *to = packed + row / Traits::kVnni * Traits::kVWidth + column;
      if constexpr (Traits::kIsBf16Dot) {
        const int elements = Traits::kValueDim - column < kLanes ? Traits::kValueDim - column : kLanes;
        Halves even = {}, odd = {};
        if constexpr (Traits::kIsQuantized) {
          even = load_halves<Traits>(from, elements);
          if (row + 1 < count) odd = load_halves<Traits>(v.at(row + 1) + column, elements);
        } else {
          memcpy(&even, from, elements * sizeof(Element));
          if (row + 1 < count) memcpy(&odd, v.at(row + 1) + column, elements * sizeof(Element));
        }
        store(to, __builtin_convertvector(even, Bits) | __builtin_convertvector(odd, Bits) << 16);
      } else if constexpr (Traits::kIsWidenedAtUse) {
        store(to, load_halves<Traits>(from, Traits::kValueDim - column));
      } else {
        const int elements = Traits::kValueDim - column;
        if constexpr (Traits::kIsQuantized)
          store(to, load_floats<Traits>(from, elements));
        else
          store(to, to_floats<Element>(load_part<VectorOf<Element>>(from, elements)));
      }
    }
}

template <class Traits, class Rows>
static void pack_tile(PackedKv<Traits> to, Rows k, Rows v, int count) {
  for (int key = 0; key < count; key += Traits::kPanelKeys)
    pack_k_panel<Traits>(to.k + (int64_t)key * Traits::kHeadUnits, k.from(key), count - key);
  pack_v<Traits>(to.v, v, count);
}

// Rows of Q, negated where the softmax's scale is negative. Rows that fill up a register block are zeros.
template <class Traits>
static void load_rows(typename Traits::RowUnit *to, const typename Traits::Element *q, int64_t stride, int rows,
                      bool negate) {
  for (int row = 0; row < round_up(rows, Traits::kQkRows); ++row)
    for (int unit = 0; unit < Traits::kHeadUnits; unit += kLanes) {
      const int elements = row < rows ? Traits::kHeadDim - unit * Traits::kVnni : 0;
      const typename Traits::Element *from = q + row * stride + unit * Traits::kVnni;
      if constexpr (Traits::kIsBf16Dot)
        store(to + row * Traits::kQStride + unit, load_part<Bits>(from, elements) ^ (negate ? 0x80008000 : 0));
      else
        store(to + row * Traits::kQStride + unit, load_floats<Traits>(from, elements) * (negate ? -1.0f : 1.0f));
    }
}

template <class Traits>
EVOFLASH_INLINE void load_queries(Scratch<Traits> &scratch, const typename Traits::Element *q, int64_t stride, int rows,
                                  bool negate) {
  load_rows<Traits>(scratch.q, q, stride, rows, negate);
}

}  // namespace evoflash::cpu_flash
