#pragma once

// AMX tiles: eight registers of 16 rows of 64 bytes, and their product of bfloat16 pairs (Intel, Architecture
// Instruction Set Extensions, chapter 3). Inline assembly, since GCC's intrinsics do not tell the compiler that they
// touch memory.
#include <sys/syscall.h>
#include <unistd.h>

#include "cpu_vector.h"

namespace evoflash::cpu_amx {

#if defined(__AMX_BF16__) && defined(__AVX512F__)
constexpr bool kHasTiles = true;
#else
constexpr bool kHasTiles = false;
#endif

constexpr int kTileRows = 16;    // of a tile; columns of a product
constexpr int kTileDepth = 32;   // bfloat16 products that one instruction adds to each element
constexpr int kTileUnits = 256;  // 32-bit units of a tile

// Linux gives a process tile registers when it asks; threads that it has or begins have them then.
static bool tiles_permitted() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
}

// A thread's tile registers, all of full size, for as long as this lives.
struct TileRegisters {
  TileRegisters() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    asm volatile("ldtilecfg %0" ::"m"(shape) : "memory");
  }
  ~TileRegisters() { asm volatile("tilerelease" ::: "memory"); }
};

template <int kTile>
EVOFLASH_INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(kTile));
}

// Rows of 64 bytes that lie `stride` bytes apart.
template <int kTile>
EVOFLASH_INLINE void tile_load(const void *from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(kTile) : "memory");
}
template <int kTile>
EVOFLASH_INLINE void tile_store(void *to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(kTile) : "memory");
}

// sums[i][j] += rows[i][2p] * columns[p][2j] + rows[i][2p + 1] * columns[p][2j + 1] over the 16 p, in float32.
template <int kSums, int kRows, int kColumns>
EVOFLASH_INLINE void tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kRows), "i"(kColumns));
}

}  // namespace evoflash::cpu_amx
