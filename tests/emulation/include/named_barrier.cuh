#pragma once

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <int kNumThreads>
inline void named_barrier_sync(int barrier) {
  emulation::sync(emulation::device.current->block->named_barriers[barrier], kNumThreads);
}

template <int kNumThreads>
inline void named_barrier_arrive(int barrier) {
  emulation::arrive(emulation::device.current->block->named_barriers[barrier], kNumThreads);
}

}  // namespace evoflash
#endif
