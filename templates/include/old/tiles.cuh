{% set panel_dims = 64 if problem.head_dim % 64 == 0 else 32 %}
/* Tiles in shared memory: panels of kPanelDims columns, whose rows follow each other without padding, in units of 16 bytes.
 *
 * ldmatrix reads the same unit of eight neighbouring rows at once, and these have to lie in different banks. So the units of a
 * row are permuted, as the copy engine (tensor_maps.cuh) would: unit u of row r lies where u ^ swizzle(r) would. A panel's row of
 * 64 elements fills the 32 banks once; of 32 elements, two rows do, and share a permutation. */
namespace evoflash {

constexpr int kUnitBytes = 16;
{% if not bulk | default(false) %}
constexpr int kPanelDims = {{ panel_dims }};
constexpr int kPanelRowBytes = 2 * kPanelDims;
{% endif %}
constexpr int kPanelUnits = kPanelDims / 8;
constexpr int kPanels = kHeadDim / kPanelDims;

__device__ __forceinline__ int swizzle(int row) { return {{ "row % 8" if panel_dims == 64 else "row / 2 % 4" }}; }

/* Where a unit of a panel lies. */
__device__ __forceinline__ int unit_offset(int row, int unit) { return row * kPanelRowBytes + (unit ^ swizzle(row)) * kUnitBytes; }

/* A lane's place in a tile for ldmatrix, which works on 16 x 16 elements, that is 2 units, at a time. */
struct TileCursor {
  int offset;

  /* Matrices from top to bottom, then from left to right: an A operand of a tile, or a B operand when transposed. */
  __device__ __forceinline__ static TileCursor down() { return {unit_offset(threadIdx.x % 16, threadIdx.x / 16 % 2)}; }

  /* From left to right, then from top to bottom: B operands of eight rows each, not transposed. */
  __device__ __forceinline__ static TileCursor across() { return {unit_offset(threadIdx.x % 8 + threadIdx.x / 16 % 2 * 8, threadIdx.x / 8 % 2)}; }

  /* The same place of the 16 x 16 elements from this row (a multiple of 16) and this pair of units, in a tile of kTileRows rows. A
   * permutation among 2^n units is an exclusive or on n bits, so moving within them is one too; both are constants after unrolling. */
  template <int kTileRows>
  __device__ __forceinline__ int moved(int row, int pair) const {
    const int panel = 2 * pair / kPanelUnits, within = 2 * pair % kPanelUnits * kUnitBytes;
    return (offset ^ within) + (panel * kTileRows + row) * kPanelRowBytes;
  }
};
{% if not bulk | default(false) %}

/* kThreadCount threads copy kCount rows, from the `first` on, into a tile of kTileRows; of these, rows from `limit` on become zeros{% if exact_rows or exact_keys %} (without
 * a limit there are none){% endif %}.
 * Neighbouring threads copy neighbouring units, a thread the same unit of each of its rows. The addresses of all turns follow
 * from the first one's by constants and the stride: a kernel's first copies wait for this arithmetic. */
template <int kCount, int kTileRows, int kThreadCount>
__device__ __forceinline__ void copy_rows(unsigned char *tile, const unsigned char *first, int row_units, int thread, int limit{{ " = kCount" if exact_rows or exact_keys }}) {
  constexpr int kTurnRows = kThreadCount / kPanelUnits;
  const int own_row = unsigned(thread) / kPanelUnits, unit = unsigned(thread) % kPanelUnits;
  const int offset = unit_offset(own_row, unit);
  const unsigned char *source = first + (int64_t(own_row) * row_units + unit) * kUnitBytes;
#pragma unroll{{ " 4 /* more would hold addresses in registers that the accumulators need */" if online }}
  for (int row = 0; row < kCount; row += kTurnRows) {
    if (kCount % kTurnRows != 0 && row + own_row >= kCount) break;
    unsigned char *target = tile + (offset ^ swizzle(row) * kUnitBytes) + row * kPanelRowBytes;
#pragma unroll
    for (int panel = 0; panel < kPanels; ++panel)
      copy_16(target + panel * kTileRows * kPanelRowBytes, source + panel * kPanelRowBytes, row + own_row < limit);
    source += int64_t(row_units) * (kTurnRows * kUnitBytes);
  }
}
{% endif %}

}  // namespace evoflash
