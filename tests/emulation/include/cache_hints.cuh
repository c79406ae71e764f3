#pragma once

#include "packed.cuh"

// Emulated: there are no caches.
namespace evoflash {

enum class Caching { kDefault, kStreaming };

#ifndef EVOFLASH_HOST_ONLY
template <Caching kCaching, int kBytes>
inline Packed<kBytes> load_packed(const void *from) {
  if (reinterpret_cast<uintptr_t>(from) % kBytes != 0) abort();  // misaligned
  return *static_cast<const Packed<kBytes> *>(from);
}

template <Caching kCaching, int kBytes>
inline void store_packed(void *to, const Packed<kBytes> &packed) {
  if (reinterpret_cast<uintptr_t>(to) % kBytes != 0) abort();
  *static_cast<Packed<kBytes> *>(to) = packed;
}
#endif

}  // namespace evoflash
