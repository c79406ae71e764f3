#pragma once

// Products of blocks of tiles: S = Q K^T and O += P V.
#include "cpu_amx/scratch.h"
#include "cpu_loops.h"

namespace evoflash::cpu_amx {

// A part of a number in rows, and one in columns.
struct PartPair {
  int row, column;
};

// The products of parts that matter: bfloat16, bfloat16x3 and bfloat16x6. The smallest come first, and from one to the
// next only one side changes.
template <int kParts>
struct PartProducts;

template <>
struct PartProducts<1> {
  static constexpr PartPair kPairs[] = {{0, 0}};
};

template <>
struct PartProducts<2> {
  static constexpr PartPair kPairs[] = {{1, 0}, {0, 0}, {0, 1}};
};

template <>
struct PartProducts<3> {
  static constexpr PartPair kPairs[] = {{2, 0}, {1, 0}, {1, 1}, {0, 1}, {0, 0}, {0, 2}};
};

// Adds the products of kRows tiles below each other and kColumns beside each other to as many sums, all in tile
// registers: first the sums, then the rows, then the columns. Where the tiles lie: row_at(r, part), column_at(c, part).
template <int kParts, int kRows, int kColumns, class RowAt, class ColumnAt>
EVOFLASH_INLINE void multiply_tiles(RowAt row_at, int64_t row_stride, ColumnAt column_at) {
  constexpr int kFirstRow = kRows * kColumns, kFirstColumn = kFirstRow + kRows;
  using Products = PartProducts<kParts>;
  static_for<sizeof Products::kPairs / sizeof(PartPair)>([&](auto product) EVOFLASH_INLINE_LAMBDA {
    constexpr int kProduct = product;
    constexpr PartPair kPair = Products::kPairs[kProduct];
    constexpr PartPair kLast = kProduct > 0 ? Products::kPairs[kProduct - 1] : PartPair{-1, -1};
    if constexpr (kPair.row != kLast.row)
      static_for<kRows>([&](auto r)
                            EVOFLASH_INLINE_LAMBDA { tile_load<kFirstRow + r>(row_at(r, kPair.row), row_stride); });
    if constexpr (kPair.column != kLast.column)
      static_for<kColumns>([&](auto c)
                               EVOFLASH_INLINE_LAMBDA { tile_load<kFirstColumn + c>(column_at(c, kPair.column), 64); });
    static_for<kRows * kColumns>([&](auto sum) EVOFLASH_INLINE_LAMBDA {
      tile_multiply<sum, kFirstRow + sum / kColumns, kFirstColumn + sum % kColumns>();
    });
  });
}

// S of kQkRows tiles of queries with kQkColumns tiles of keys.
template <class Traits>
static void score_block(float *acc_s, const uint16_t *const (&q)[Traits::kParts], const uint32_t *k) {
  constexpr int kParts = Traits::kParts, kRows = Traits::kQkRows, kColumns = Traits::kQkColumns;
  static_for<kRows * kColumns>([&](auto sum) EVOFLASH_INLINE_LAMBDA { tile_zero<sum>(); });
  for (int depth = 0; depth < Traits::kHeadTiles; ++depth)
    multiply_tiles<kParts, kRows, kColumns>(
        [&](int r, int part)
            EVOFLASH_INLINE_LAMBDA { return q[part] + r * kTileRows * Traits::kQStride + depth * kTileDepth; },
        2 * Traits::kQStride,
        [&](int c, int part)
            EVOFLASH_INLINE_LAMBDA { return k + ((c * kParts + part) * Traits::kHeadTiles + depth) * kTileUnits; });
  static_for<kRows * kColumns>([&](auto sum) EVOFLASH_INLINE_LAMBDA {
    constexpr int kRow = sum / kColumns, kColumn = sum % kColumns;
    tile_store<sum>(acc_s + kRow * kTileRows * Traits::kSStride + kColumn * kTileRows, 4 * Traits::kSStride);
  });
}

// O of kPvRows tiles of rows and kPvColumns tiles of columns, rescaled already, plus P times `steps` blocks of V.
template <class Traits>
static void output_block(float *acc_o, const uint16_t *const (&p)[Traits::kParts], const uint32_t *v, int steps) {
  constexpr int kParts = Traits::kParts, kRows = Traits::kPvRows, kColumns = Traits::kPvColumns;
  static_for<kRows * kColumns>([&](auto sum) EVOFLASH_INLINE_LAMBDA {
    constexpr int kRow = sum / kColumns, kColumn = sum % kColumns;
    tile_load<sum>(acc_o + kRow * kTileRows * Traits::kOStride + kColumn * kTileRows, 4 * Traits::kOStride);
  });
  for (int step = 0; step < steps; ++step)
    multiply_tiles<kParts, kRows, kColumns>(
        [&](int r, int part)
            EVOFLASH_INLINE_LAMBDA { return p[part] + r * kTileRows * Traits::kPStride + step * kTileDepth; },
        2 * Traits::kPStride,
        [&](int c, int part)
            EVOFLASH_INLINE_LAMBDA { return v + ((step * kParts + part) * Traits::kVTiles + c) * kTileUnits; });
  static_for<kRows * kColumns>([&](auto sum) EVOFLASH_INLINE_LAMBDA {
    constexpr int kRow = sum / kColumns, kColumn = sum % kColumns;
    tile_store<sum>(acc_o + kRow * kTileRows * Traits::kOStride + kColumn * kTileRows, 4 * Traits::kOStride);
  });
}

}  // namespace evoflash::cpu_amx
