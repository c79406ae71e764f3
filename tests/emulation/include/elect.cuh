#pragma once

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline bool elect_one() { return threadIdx.x % 32 == 0; }

}  // namespace evoflash
#endif
