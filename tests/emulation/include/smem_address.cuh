#pragma once

// Emulated.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline unsigned smem_address(const void *smem) { return emulation::address_of(smem); }

}  // namespace evoflash
#endif
