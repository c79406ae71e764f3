/* Tiles in shared memory: rows of kHeadDim halves without padding, in units of 16 bytes.
 *
 * ldmatrix reads the same unit of eight neighbouring rows at once, and these have to lie in different banks. So the units of a
 * row are permuted: unit u of row r lies where u ^ swizzle(r) would. A row of 64 elements fills the 32 banks once; in rows
 * that are an odd multiple of 32 elements neighbours lie half the banks apart already, and pairs of rows share a permutation. */
namespace evoflash {

constexpr int kUnitBytes = 16;
constexpr int kRowUnits = kHeadDim / 8;
constexpr int kRowBytes = kRowUnits * kUnitBytes;
constexpr int kSwizzledUnits = {{ 8 if problem.head_dim % 64 == 0 else 4 }}; /* permuted among themselves */
static_assert(kHeadDim % 32 == 0, "the permutation must stay within the row");

__device__ __forceinline__ int swizzle(int row) { return {{ "row % 8" if problem.head_dim % 64 == 0 else "row / 2 % 4" }}; }

__device__ __forceinline__ int tile_offset(int row, int unit) { return row * kRowBytes + (unit ^ swizzle(row)) * kUnitBytes; }

/* A lane's place in a tile for ldmatrix and its kind, which work on 16 x 16 elements, that is 2 units, at a time. */
struct TileCursor {
  int offset;

  /* Matrices from top to bottom, then from left to right: an A operand of a tile, or a B operand when transposed. */
  __device__ __forceinline__ static TileCursor down() { return at(threadIdx.x % 16, threadIdx.x / 16 % 2); }

  /* From left to right, then from top to bottom: B operands of eight rows each, not transposed. */
  __device__ __forceinline__ static TileCursor across() {
    return at(threadIdx.x % 8 + threadIdx.x / 16 % 2 * 8, threadIdx.x / 8 % 2);
  }

  __device__ __forceinline__ static TileCursor at(int row, int unit) { return {tile_offset(row, unit)}; }

  /* The same place of the 16 x 16 elements from this row (a multiple of 16) and this pair of units. A permutation among
   * 2^n units is an exclusive or on n bits, so moving within them is one too; both are constants after unrolling. */
  __device__ __forceinline__ int moved(int row, int pair) const {
    const int within = 2 * pair % kSwizzledUnits * kUnitBytes, beyond = 2 * pair / kSwizzledUnits * kSwizzledUnits * kUnitBytes;
    return (offset ^ within) + beyond + row * kRowBytes;
  }
};

/* kThreadCount threads copy kCount rows into a tile, from the `first` on; of these, rows from `limit` on become zeros. Neighbouring threads copy
 * neighbouring units, a thread the same units of each of its rows. The addresses of all turns follow from the first one's by
 * constants and the stride: a kernel's first copies wait for this arithmetic. */
template <int kCount, int kThreadCount>
__device__ __forceinline__ void copy_rows(unsigned char *tile, const unsigned char *first, int row_units, int limit, int thread) {
  constexpr int kTurnRows = kThreadCount / kSwizzledUnits;
  const int own_row = unsigned(thread) / kSwizzledUnits, unit = unsigned(thread) % kSwizzledUnits;
  const int offset = tile_offset(own_row, unit), rows_left = limit - own_row;
  const unsigned char *source = first + (int64_t(own_row) * row_units + unit) * kUnitBytes;
#pragma unroll{{ " 4 /* more would hold addresses in registers that the accumulators need */" if online }}
  for (int row = 0; row < kCount; row += kTurnRows) {
    if (kCount % kTurnRows != 0 && row + own_row >= kCount) break;
    unsigned char *target = tile + (offset ^ swizzle(row) * kUnitBytes) + row * kRowBytes;
#pragma unroll
    for (int beyond = 0; beyond < kRowUnits; beyond += kSwizzledUnits)
      copy_16(target + beyond * kUnitBytes, source + beyond * kUnitBytes, row < rows_left);
    source += int64_t(row_units) * (kTurnRows * kUnitBytes);
  }
}

}  // namespace evoflash
