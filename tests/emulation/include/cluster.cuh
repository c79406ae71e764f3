#pragma once

#include "mbarrier.cuh"

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline int cluster_rank() { return int(emulation::device.current->block - emulation::device.blocks.data()); }

inline void cluster_arrive_relaxed() {
  auto &device = emulation::device;
  device.current->cluster_phase = device.cluster_barrier.generation;
  emulation::arrive(device.cluster_barrier, int(device.contexts.size()));
}
inline void cluster_wait() {
  auto &device = emulation::device;
  emulation::wait_until([&] { return device.cluster_barrier.generation != device.current->cluster_phase; });
}

inline void cluster_sync() {
  cluster_arrive_relaxed();
  cluster_wait();
}

inline unsigned remote_address(unsigned smem, int rank) {
  return smem - emulation::address_of(emulation::device.current->block->shared) +
         emulation::address_of(emulation::device.blocks[rank].shared);
}

inline float4 load_remote(unsigned address) { return *reinterpret_cast<float4 *>(emulation::pointer_of(address)); }
inline float2 load_remote_pair(unsigned address) { return *reinterpret_cast<float2 *>(emulation::pointer_of(address)); }

inline void store_remote(unsigned address, float2 value) {
  memcpy(emulation::pointer_of(address), &value, sizeof(value));
}

template <class Value>
inline void store_remote(unsigned address, Value value, unsigned barrier) {
  emulation::transfer([=] {
    memcpy(emulation::pointer_of(address), &value, sizeof(value));
    mbarrier_complete_tx(barrier, sizeof(value));
  });
}

}  // namespace evoflash
#endif
