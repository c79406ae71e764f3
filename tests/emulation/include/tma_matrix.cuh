#pragma once

#include "tensor_map.cuh"

// Emulated.
namespace evoflash {

struct MatrixPanel {
  static constexpr int kColumns = 64;
  static constexpr int kRowBytes = 2 * kColumns;
  static constexpr int kUnitBytes = 16;
};

#ifndef EVOFLASH_HOST_ONLY
struct MatrixCoord {
  int column, row;
};

inline void tma_load_matrix(unsigned smem, const TensorMap &map, MatrixCoord coord, unsigned barrier) {
  load_box(smem, map, {coord.column, coord.row}, barrier);
}

inline void tma_load_matrix_multicast(unsigned smem, const TensorMap &map, MatrixCoord coord, unsigned barrier,
                                      unsigned short cta_mask) {
  load_box_multicast(smem, map, {coord.column, coord.row}, barrier, cta_mask);
}

inline void tma_store_matrix(const TensorMap &map, MatrixCoord coord, unsigned smem) {
  store_box(map, {coord.column, coord.row}, smem);
}
#endif

}  // namespace evoflash
