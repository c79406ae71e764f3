#pragma once

#include "mbarrier.cuh"

// Emulated: boxes are copied row by row, with the shipped header's swizzle.
namespace evoflash {

struct alignas(128) TensorMap {
  unsigned long long opaque[16];
};

#ifndef EVOFLASH_HOST_ONLY
struct TmaCoord {
  int dim, row, bidh, bidb;
};

inline void fence_proxy_async() {}
inline void prefetch_tensor_map(const TensorMap &) {}

inline void tma_load(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier) {
  const EmulatedTensorMap tensor = bits_as<EmulatedTensorMap>(map);
  if (smem % (tensor.swizzle == 0 ? 128 : 1024) != 0) abort();
  emulation::transfer([=] {
    const int row_bytes = int(tensor.box[0]) * 2;
    if (tensor.swizzle != 0 && row_bytes != tensor.swizzle) abort();
    for (int row = 0; row < int(tensor.box[1]); ++row)
      for (int unit = 0; unit < row_bytes / 16; ++unit) {
        const int place = unit ^ (tensor.swizzle == 128 ? row % 8 : tensor.swizzle == 64 ? row / 2 % 4 : 0);
        for (int i = 0; i < 8; ++i) {
          const int dim = coord.dim + unit * 8 + i;
          const bool is_inside = dim < int(tensor.sizes[0]) && coord.row + row < int(tensor.sizes[1]);
          const unsigned char *const from = tensor.base + 2 * dim + (coord.row + row) * tensor.strides[0] +
                                            coord.bidh * tensor.strides[1] + coord.bidb * tensor.strides[2];
          unsigned char *const to = emulation::pointer_of(smem + row * row_bytes + place * 16 + 2 * i);
          is_inside ? memcpy(to, from, 2) : memset(to, 0, 2);
        }
      }
    mbarrier_complete_tx(barrier, int(tensor.box[1]) * row_bytes);
  });
}
#endif

}  // namespace evoflash
