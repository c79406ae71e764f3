#pragma once

// Emulated: the eight bytes count arrivals, phases and bytes.
namespace evoflash {

constexpr int kMbarrierBytes = 8;

#ifndef EVOFLASH_HOST_ONLY
struct EmulatedMbarrier {
  unsigned char arrivals, pending, phase, is_valid;
  int bytes;  // announced and not yet there

  void complete() {
    if (pending != 0 || bytes != 0) return;
    pending = arrivals;
    phase ^= 1;
  }
};
static_assert(sizeof(EmulatedMbarrier) == kMbarrierBytes);

inline EmulatedMbarrier &mbarrier_at(unsigned barrier) {
  auto &found = *reinterpret_cast<EmulatedMbarrier *>(emulation::pointer_of(barrier));
  if (found.is_valid != 1) abort();
  return found;
}

inline void mbarrier_init(unsigned barrier, int arrivals) {
  const unsigned char count = arrivals;
  *reinterpret_cast<EmulatedMbarrier *>(emulation::pointer_of(barrier)) = {count, count, 0, 1, 0};
}
inline void mbarrier_inval(unsigned barrier) {
  auto &found = mbarrier_at(barrier);
  if (found.bytes != 0) abort();
  found.is_valid = 0;
}
inline void fence_mbarrier_init() {}

inline void mbarrier_arrive(unsigned barrier) {
  EmulatedMbarrier &found = mbarrier_at(barrier);
  if (found.pending-- == 0) abort();
  found.complete();
}
inline void mbarrier_arrive_remote(unsigned barrier, int rank) {
  mbarrier_arrive(barrier - emulation::address_of(emulation::device.current->block->shared) +
                  emulation::address_of(emulation::device.blocks[rank].shared));
}

inline void mbarrier_arrive_expect_tx(unsigned barrier, int bytes) {
  EmulatedMbarrier &found = mbarrier_at(barrier);
  found.bytes += bytes;
  if (found.pending-- == 0) abort();
  found.complete();
}

inline void mbarrier_complete_tx(unsigned barrier, int bytes) {
  EmulatedMbarrier &found = mbarrier_at(barrier);
  found.bytes -= bytes;
  found.complete();
}

inline void mbarrier_wait(unsigned barrier, unsigned parity) {
  emulation::wait_until([=] { return mbarrier_at(barrier).phase != parity; });
}
#endif

}  // namespace evoflash
