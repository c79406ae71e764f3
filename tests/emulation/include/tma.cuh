#pragma once

#include "mbarrier.cuh"

// Emulated: boxes are copied row by row, with the shipped header's swizzle.
namespace evoflash {

struct alignas(128) TensorMap {
  unsigned long long opaque[16];
};

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

inline void fence_proxy_async() {}
inline void prefetch_tensor_map(const TensorMap &) {}

// Calls `move` with the global and the shared place of each element of a box, and whether the tensor has it.
template <class Move>
inline int for_box(unsigned smem, const EmulatedTensorMap &tensor, TmaCoord coord, const Move &move) {
  const int row_bytes = int(tensor.box[0]) * 2;
  if (smem % (tensor.swizzle == 0 ? 128 : 1024) != 0) abort();
  if (tensor.swizzle != 0 && row_bytes != tensor.swizzle) abort();
  for (int row = 0; row < int(tensor.box[1]); ++row)
    for (int unit = 0; unit < row_bytes / 16; ++unit) {
      const int place = unit ^ (tensor.swizzle == 128 ? row % 8 : tensor.swizzle == 64 ? row / 2 % 4 : 0);
      for (int i = 0; i < 8; ++i) {
        const int dim = coord.dim + unit * 8 + i;
        const bool is_inside =
            dim < int(tensor.sizes[0]) && coord.row >= -row && coord.row + row < int(tensor.sizes[1]);
        unsigned char *const global = tensor.base + 2 * dim + (coord.row + row) * tensor.strides[0] +
                                      coord.bidh * tensor.strides[1] + coord.bidb * tensor.strides[2];
        move(global, emulation::pointer_of(smem + row * row_bytes + place * 16 + 2 * i), is_inside);
      }
    }
  return int(tensor.box[1]) * row_bytes;
}

inline void tma_load(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier) {
  const EmulatedTensorMap tensor = bits_as<EmulatedTensorMap>(map);
  emulation::transfer([=] {
    const int bytes = for_box(smem, tensor, coord, [](unsigned char *global, unsigned char *shared, bool is_inside) {
      is_inside ? memcpy(shared, global, 2) : memset(shared, 0, 2);
    });
    mbarrier_complete_tx(barrier, bytes);
  });
}

inline void tma_load_multicast(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier,
                               unsigned short cta_mask) {
  const auto &blocks = emulation::device.blocks;
  const unsigned own = emulation::address_of(emulation::device.current->block->shared);
  for (int rank = 0; rank < int(blocks.size()); ++rank)
    if (cta_mask >> rank & 1) {
      const unsigned other = emulation::address_of(blocks[rank].shared);
      tma_load(smem - own + other, map, coord, barrier - own + other);
    }
}

inline void tma_store(const TensorMap &map, TmaCoord coord, unsigned smem) {
  for_box(smem, bits_as<EmulatedTensorMap>(map), coord,
          [](unsigned char *global, unsigned char *shared, bool is_inside) {
            if (is_inside) memcpy(global, shared, 2);
          });
}
inline void tma_store_commit() {}
inline void tma_store_wait() {}
#endif

}  // namespace evoflash
