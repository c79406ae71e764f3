#pragma once

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline uint4 load_streaming(const void *gmem) { return *static_cast<const uint4 *>(gmem); }

}  // namespace evoflash
#endif
