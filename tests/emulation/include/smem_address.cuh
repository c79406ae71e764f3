#pragma once

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline unsigned smem_address(const void *smem) { return emulation::address_of(smem); }
inline int load_shared(unsigned smem) { return *reinterpret_cast<int *>(emulation::pointer_of(smem)); }
inline void store_shared(unsigned smem, int value) { *reinterpret_cast<int *>(emulation::pointer_of(smem)) = value; }

}  // namespace evoflash
#endif
