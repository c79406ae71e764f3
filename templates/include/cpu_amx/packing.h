#pragma once

// Q, K and V into tiles: Q as rows of each part, K and V as columns.
#include "cpu_amx/parts.h"
#include "cpu_amx/scratch.h"

namespace evoflash::cpu_amx {

// A block of keys: unit u of key k of a part goes to [part][u / 16][u % 16][k]; keys from `count` on are zeros.
template <class Traits>
static void pack_k_block(uint32_t *block, const typename Traits::Element *k, int64_t stride, int count) {
  constexpr int kParts = Traits::kParts;
  for (int depth = 0; depth < Traits::kHeadTiles; ++depth) {
    Bits squares[kParts][kTileRows];
    for (int key = 0; key < kTileRows; ++key) {
      const int first = depth * kTileDepth, elements = key < count ? Traits::kHeadDim - first : 0;
      const typename Traits::Element *from = k + key * stride + first;
      Halves left[kParts], right[kParts];
      load_parts(from, elements, left);
      load_parts(from + kLanes, elements - kLanes, right);
      for (int part = 0; part < kParts; ++part) {
        memcpy(&squares[part][key], &left[part], sizeof(Halves));
        memcpy(reinterpret_cast<char *>(&squares[part][key]) + sizeof(Halves), &right[part], sizeof(Halves));
      }
    }
    for (int part = 0; part < kParts; ++part) {
      transpose(squares[part]);
      for (int unit = 0; unit < kTileRows; ++unit)
        store(block + (part * Traits::kHeadTiles + depth) * kTileUnits + unit * kTileRows, squares[part][unit]);
    }
  }
}

// A block of 32 values: pair p of column c is {V[2p][c], V[2p + 1][c]}; values from `count` on are zeros.
template <class Traits>
static void pack_v_block(uint32_t *block, const typename Traits::Element *v, int64_t stride, int count) {
  constexpr int kParts = Traits::kParts;
  for (int column = 0; column < Traits::kVTiles; ++column)
    for (int pair = 0; pair < kTileRows; ++pair) {
      const typename Traits::Element *from = v + 2 * pair * stride + column * kTileRows;
      const int elements = Traits::kValueDim - column * kTileRows;
      Halves even[kParts], odd[kParts];
      load_parts(from, 2 * pair < count ? elements : 0, even);
      load_parts(from + stride, 2 * pair + 1 < count ? elements : 0, odd);
      for (int part = 0; part < kParts; ++part)
        store(block + (part * Traits::kVTiles + column) * kTileUnits + pair * kTileRows,
              __builtin_convertvector(even[part], Bits) | __builtin_convertvector(odd[part], Bits) << 16);
    }
}

template <class Traits>
static void pack_tile(PackedKv<Traits> to, DenseRows<typename Traits::Element> k, DenseRows<typename Traits::Element> v,
                      int count) {
  constexpr int kQkKeys = kTileRows * Traits::kQkColumns;  // that S is computed of together
  for (int key = 0; key < round_up(count, kQkKeys) && key < Traits::kBlockN; key += kTileRows)
    pack_k_block<Traits>(to.k + (int64_t)key * Traits::kKeyUnits, k.at(key), k.stride, count - key);
  for (int key = 0; key < count; key += kTileDepth)
    pack_v_block<Traits>(to.v + (int64_t)key / Traits::kVnni * Traits::kValueUnits, v.at(key), v.stride, count - key);
}

// Rows of Q as parts, negated where the softmax's scale is negative. Rows that fill up the tile are zeros.
template <class Traits>
static void load_rows(uint16_t (&to)[Traits::kParts][Traits::kBlockM * Traits::kQStride],
                      const typename Traits::Element *q, int64_t stride, int rows, bool negate) {
  const uint16_t sign = negate ? 0x8000 : 0;
  for (int row = 0; row < Traits::kBlockM; ++row)
    for (int term = 0; term < Traits::kHeadTerms; term += kLanes) {
      Halves parts[Traits::kParts];
      load_parts(q + row * stride + term, row < rows ? Traits::kHeadDim - term : 0, parts);
      for (int part = 0; part < Traits::kParts; ++part)
        store(to[part] + row * Traits::kQStride + term, parts[part] ^ sign);
    }
}

template <class Traits>
EVOFLASH_INLINE void load_queries(Scratch<Traits> &scratch, const typename Traits::Element *q, int64_t stride, int rows,
                                  bool negate) {
  load_rows<Traits>(scratch.q, q, stride, rows, negate);
}

}  // namespace evoflash::cpu_amx
