#pragma once

// A tile of query rows with a tile of keys: S, the online softmax, and P V.
#include "cpu_amx/parts.h"
#include "cpu_amx/scratch.h"
#include "cpu_amx/tile_products.h"
#include "cpu_softmax.h"

namespace evoflash::cpu_amx {

template <class Traits>
EVOFLASH_INLINE void store_p(Scratch<Traits> &scratch, int row, int key, Floats p) {
  if constexpr (Traits::kParts == 1) {
    store(scratch.p[0] + row * Traits::kPStride + key, to_bfloat16(p));
  } else {
    Halves parts[Traits::kParts];
    split(p, kBfloat16Bits, parts);
#pragma GCC unroll 3
    for (int part = 0; part < Traits::kParts; ++part)
      store(scratch.p[part] + row * Traits::kPStride + key, parts[part]);
  }
}

// S, P and O of a tile of rows with one tile of keys. Blocks of S in which no row sees a key are skipped.
template <class Traits>
static void attend_tile(Scratch<Traits> &scratch, PackedKv<Traits> packed, int rows, const TileView<Traits> &view,
                        float softmax_scale_log2) {
  constexpr int kQkRows = Traits::kQkRows * kTileRows, kPvRows = Traits::kPvRows * kTileRows;
  const auto parts_from = [](const auto &parts, int at, const uint16_t *(&from)[Traits::kParts]) {
    for (int part = 0; part < Traits::kParts; ++part) from[part] = parts[part] + at;
  };
  for (int row = 0; row < rows; row += kQkRows) {
    const uint16_t *q[Traits::kParts];
    parts_from(scratch.q, row * Traits::kQStride, q);
    constexpr int kBlockKeys = Traits::kQkColumns * kTileRows;
    for (int key = view.begin(row) / kBlockKeys * kBlockKeys; key < view.end(row + kQkRows - 1); key += kBlockKeys)
      score_block<Traits>(scratch.acc_s + row * Traits::kSStride + key, q, packed.k + (int64_t)key * Traits::kKeyUnits);
  }
  for (int first = 0; first < rows; first += kPvRows) {
    // The products take whole blocks of keys: of those that the last row sees.
    const int steps = ceil_div(view.end(first + kPvRows - 1), kTileDepth);
    for (int row = first; row < first + kPvRows; ++row) {
      softmax_row(scratch, row, view, steps * kTileDepth, softmax_scale_log2);
      if (scratch.scores_scale[row] != 1)
        for (int column = 0; column < Traits::kOStride; column += kLanes) {
          float *to = scratch.acc_o + row * Traits::kOStride + column;
          store(to, load<Floats>(to) * scratch.scores_scale[row]);
        }
    }
    const uint16_t *p[Traits::kParts];
    parts_from(scratch.p, first * Traits::kPStride, p);
    for (int column = 0; column < Traits::kVTiles; column += Traits::kPvColumns)
      output_block<Traits>(scratch.acc_o + first * Traits::kOStride + column * kTileRows, p,
                           packed.v + column * kTileUnits, steps);
  }
}

}  // namespace evoflash::cpu_amx
