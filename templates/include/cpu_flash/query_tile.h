#pragma once

// A tile of query rows with a tile of keys: S, the online softmax, and P V.
#include "cpu_flash/microkernel.h"
#include "cpu_flash/scratch.h"
#include "cpu_softmax.h"

namespace evoflash::cpu_flash {

// Keeps kLanes probabilities in place of scores. For dot products they are bfloat16, and trail the scores that are
// still to be read.
template <class Traits>
EVOFLASH_INLINE void store_p(Scratch<Traits> &scratch, int row, int key, Floats p) {
  if constexpr (Traits::kIsBf16Dot)
    store(reinterpret_cast<uint16_t *>(scratch.acc_s + row * Traits::kSStride) + key, to_bfloat16(p));
  else
    store(scratch.acc_s + row * Traits::kSStride + key, p);
}

// S, P and O of a tile of rows with one tile of keys. Blocks of S in which no row sees a key are skipped.
template <class Traits>
static void attend_tile(Scratch<Traits> &scratch, PackedKv<Traits> packed, int rows, const TileView<Traits> &view,
                        float softmax_scale_log2) {
  constexpr int kQkRows = Traits::kQkRows, kPvRows = Traits::kPvRows, kPvVectors = Traits::kPvVectors;
  // What the output block of this row will read: the keys that its last row sees, in whole pairs.
  const auto cover = [&](int row) { return round_up(view.end(row / kPvRows * kPvRows + kPvRows - 1), Traits::kVnni); };
  const auto is_seen = [&](int key, int row) {
    return key < view.end(row + kQkRows - 1) && key + Traits::kPanelKeys > view.begin(row);
  };

  if constexpr (Traits::kIsSoftmaxFused) {
    for (int row = 0; row < rows; row += kQkRows) {
      for (int key = 0; key < view.end(row + kQkRows - 1); key += Traits::kPanelKeys)
        if (is_seen(key, row))
          score_block<Traits>(scratch.acc_s + row * Traits::kSStride + key, scratch.q + row * Traits::kQStride,
                              packed.k + (int64_t)key * Traits::kHeadUnits);
      for (int r = row; r < row + kQkRows; ++r) softmax_row(scratch, r, view, cover(r), softmax_scale_log2);
    }
  } else {
    for (int key = 0; key < view.count; key += Traits::kPanelKeys)
      for (int row = 0; row < rows; row += kQkRows)
        if (is_seen(key, row))
          score_block<Traits>(scratch.acc_s + row * Traits::kSStride + key, scratch.q + row * Traits::kQStride,
                              packed.k + (int64_t)key * Traits::kHeadUnits);
    for (int row = 0; row < rows; ++row) softmax_row(scratch, row, view, cover(row), softmax_scale_log2);
  }

  const auto outputs = [&](int row, int column, auto block) {
    const int keys = view.end(row + kPvRows - 1);
    if (keys > 0)
      block(scratch.acc_o + row * Traits::kOStride + column, scratch.scores_scale + row,
            scratch.acc_s + row * Traits::kSStride, packed.v + column, keys);
  };
  constexpr int kRemainder = Traits::kVVectors % kPvVectors, kWhole = (Traits::kVVectors - kRemainder) * kLanes;
  for (int column = 0; column < kWhole; column += kPvVectors * kLanes)
    for (int row = 0; row < rows; row += kPvRows) outputs(row, column, output_block<Traits, kPvVectors>);
  if constexpr (kRemainder != 0)
    for (int row = 0; row < rows; row += kPvRows) outputs(row, kWhole, output_block<Traits, kRemainder>);
}

}  // namespace evoflash::cpu_flash
