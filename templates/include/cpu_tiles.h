/* AMX tiles: eight registers of 16 rows of 64 bytes, and their product of bfloat16 pairs (Intel, Architecture
   Instruction Set Extensions, chapter 3). Inline assembly, since GCC's intrinsics do not tell the compiler that they
   touch memory. */
#include <sys/syscall.h>
#include <unistd.h>

#if !defined(__AMX_BF16__) || !defined(__AVX512F__)
#error "this kernel is made of AMX tiles, which this processor (or compiler) lacks: search on this machine for another"
#endif

constexpr int BLOCK = 16;        /* rows of a tile; columns of a product */
constexpr int BLOCK_TERMS = 32;  /* bfloat16 products that one instruction adds to each element of a block */
constexpr int BLOCK_UNITS = 256; /* 32-bit units of a tile */

/* Linux gives a process tile registers when it asks; threads that it has or begins have them then. */
static bool tiles_permitted() {
  constexpr int REQUEST_PERMISSION = 0x1023, TILE_DATA = 18; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
  static const bool permitted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
  return permitted;
}

/* A thread's tile registers, all of full size, for as long as this lives. */
struct Tiles {
  Tiles() {
    struct alignas(64) {
      uint8_t palette = 1, start_row = 0, reserved[14] = {};
      uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
      uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
    } shape;
    asm volatile("ldtilecfg %0" ::"m"(shape) : "memory");
  }
  ~Tiles() { asm volatile("tilerelease" ::: "memory"); }
};

template <int TILE>
INLINE void tile_zero() {
  asm volatile("tilezero %%tmm%c0" ::"i"(TILE));
}
/* Rows of 64 bytes that lie `stride` bytes apart. */
template <int TILE>
INLINE void tile_load(const void *from, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(TILE) : "memory");
}
template <int TILE>
INLINE void tile_store(void *to, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(TILE) : "memory");
}
/* sums[i][j] += rows[i][2p] * columns[p][2j] + rows[i][2p + 1] * columns[p][2j + 1] over the 16 p, in float32. */
template <int SUMS, int ROWS, int COLUMNS>
INLINE void tile_multiply() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(SUMS), "i"(ROWS), "i"(COLUMNS));
}
