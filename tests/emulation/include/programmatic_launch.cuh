#pragma once

// Emulated: kernels run one after the other.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline void launch_dependents() {}
inline void wait_for_prerequisites() {}

}  // namespace evoflash
#endif
