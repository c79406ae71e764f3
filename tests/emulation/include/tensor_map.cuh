#pragma once

#include "mbarrier.cuh"

// Emulated: boxes are copied row by row, with the shipped headers' swizzle.
namespace evoflash {

struct alignas(128) TensorMap {
  unsigned long long opaque[16];
};

#ifndef EVOFLASH_HOST_ONLY
// Where a box starts: column, row, and what lies above.
struct BoxCoord {
  int at[4];
};

inline void fence_proxy_async() {}
inline void prefetch_tensor_map(const TensorMap &) {}

struct L2Policy {};
inline L2Policy l2_evict_first() { return {}; }
inline L2Policy l2_evict_last() { return {}; }

// Calls `move` with the global and the shared place of each element of a box, and whether the tensor has it.
template <class Move>
inline int for_box(unsigned smem, const EmulatedTensorMap &tensor, BoxCoord coord, const Move &move) {
  const int row_bytes = int(tensor.box[0]) * 2;
  if (smem % (tensor.swizzle == 0 ? 128 : 1024) != 0) abort();
  if (tensor.swizzle != 0 && row_bytes != tensor.swizzle) abort();
  for (int row = 0; row < int(tensor.box[1]); ++row)
    for (int unit = 0; unit < row_bytes / 16; ++unit) {
      const int place = unit ^ (tensor.swizzle == 128 ? row % 8 : tensor.swizzle == 64 ? row / 2 % 4 : 0);
      for (int i = 0; i < 8; ++i) {
        const int dim = coord.at[0] + unit * 8 + i, from = coord.at[1];
        const bool is_inside = dim < int(tensor.sizes[0]) && from >= -row && from + row < int(tensor.sizes[1]);
        unsigned char *const global = tensor.base + 2 * dim + (from + row) * tensor.strides[0] +
                                      coord.at[2] * tensor.strides[1] + coord.at[3] * tensor.strides[2];
        move(global, emulation::pointer_of(smem + row * row_bytes + place * 16 + 2 * i), is_inside);
      }
    }
  return int(tensor.box[1]) * row_bytes;
}

inline void load_box(unsigned smem, const TensorMap &map, BoxCoord coord, unsigned barrier) {
  const EmulatedTensorMap tensor = bits_as<EmulatedTensorMap>(map);
  emulation::transfer([=] {
    const int bytes = for_box(smem, tensor, coord, [](unsigned char *global, unsigned char *shared, bool is_inside) {
      is_inside ? memcpy(shared, global, 2) : memset(shared, 0, 2);
    });
    mbarrier_complete_tx(barrier, bytes);
  });
}

inline void load_box_multicast(unsigned smem, const TensorMap &map, BoxCoord coord, unsigned barrier,
                               unsigned short cta_mask) {
  const auto &blocks = emulation::device.blocks;
  const unsigned own = emulation::address_of(emulation::device.current->block->shared);
  for (int rank = 0; rank < int(blocks.size()); ++rank)
    if (cta_mask >> rank & 1) {
      const unsigned other = emulation::address_of(blocks[rank].shared);
      load_box(smem - own + other, map, coord, barrier - own + other);
    }
}

// A store reads shared memory when its group is waited for, or some of them at once. Unlike a load, it must not begin
// before the tensor (CUDA C++ Programming Guide, "Tensor Memory Access").
inline void store_box(const TensorMap &map, BoxCoord coord, unsigned smem) {
  const EmulatedTensorMap tensor = bits_as<EmulatedTensorMap>(map);
  if (*std::min_element(coord.at, coord.at + 4) < 0) return emulation::fail(emulation::kIllegalInstruction);
  const auto store = [=] {
    for_box(smem, tensor, coord, [](unsigned char *global, unsigned char *shared, bool is_inside) {
      if (is_inside) memcpy(global, shared, 2);
    });
  };
  if (emulation::happens_once_in(3)) return store();
  emulation::device.current->open_store.push_back(store);
}

inline void tma_store_commit() {
  auto &thread = *emulation::device.current;
  thread.stores.push_back(std::move(thread.open_store));
  thread.open_store.clear();
}

template <int kPending>
inline void tma_store_wait_read() {
  auto &stores = emulation::device.current->stores;
  for (; stores.size() > kPending; stores.pop_front())
    for (const auto &store : stores.front()) store();
}

inline void tma_store_wait() { tma_store_wait_read<0>(); }
#endif

}  // namespace evoflash
