#pragma once

#include "cluster.cuh"

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline void cluster_sync() {
  cluster_arrive_relaxed();
  cluster_wait();
}

inline void store_remote(unsigned address, float2 value) {
  memcpy(emulation::pointer_of(address), &value, sizeof(value));
}

}  // namespace evoflash
#endif
