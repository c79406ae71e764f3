#pragma once

#include "mbarrier.cuh"
#include "tensor_map.cuh"

// Emulated.
namespace evoflash {

template <int kHeadDim, int kPanelDims = kHeadDim % 64 == 0 ? 64 : 32>
struct TmaPanel {
  static constexpr int kDims = kPanelDims;
  static constexpr int kRowBytes = 2 * kDims;
  static constexpr int kCount = (kHeadDim + kDims - 1) / kDims;
};

#ifndef EVOFLASH_HOST_ONLY
struct TmaCoord {
  int dim, row, bidh, bidb;
};

inline void tma_load(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier) {
  load_box(smem, map, {coord.dim, coord.row, coord.bidh, coord.bidb}, barrier);
}

inline void tma_load(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier, L2Policy) {
  tma_load(smem, map, coord, barrier);
}

inline void tma_load_multicast(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier,
                               unsigned short cta_mask) {
  load_box_multicast(smem, map, {coord.dim, coord.row, coord.bidh, coord.bidb}, barrier, cta_mask);
}

inline void tma_load_multicast(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier,
                               unsigned short cta_mask, L2Policy) {
  tma_load_multicast(smem, map, coord, barrier, cta_mask);
}

inline void tma_store(const TensorMap &map, TmaCoord coord, unsigned smem) {
  store_box(map, {coord.dim, coord.row, coord.bidh, coord.bidb}, smem);
}
#endif

}  // namespace evoflash
