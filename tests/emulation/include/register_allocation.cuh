#pragma once

// Emulated: there are registers for all.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <int kRegisters>
inline void warpgroup_reg_alloc() {}
template <int kRegisters>
inline void warpgroup_reg_dealloc() {}

}  // namespace evoflash
#endif
