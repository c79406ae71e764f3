#pragma once

#include "evoflash.h"
#include "tensor_map.cuh"

// TMA on matrices: a map has the dimensions [rows][columns] of elements of 2 bytes, and rows may lie any multiple of 16
// bytes apart.
//
// A box is some rows of a panel of 64 columns. What it has beyond the matrix is filled up with zeros, or not stored.
// The rows of a box follow each other in shared memory, 128 bytes each, and their 16-byte units are swizzled: unit u of
// row r lies at position u ^ r % 8. The swizzle permutes address bits, so boxes start on multiples of 1024 bytes.
namespace evoflash {

struct MatrixPanel {
  static constexpr int kColumns = 64;
  static constexpr int kRowBytes = 2 * kColumns;
  static constexpr int kUnitBytes = 16;
};

#ifndef EVOFLASH_DEVICE_ONLY
namespace {

// Encodes the map of a matrix for boxes of so many rows, at most 256. Returns 0, or EVOFLASH_UNSUPPORTED for a matrix
// that a map cannot describe: rows have to lie a multiple of 16 bytes apart, above 0 and below 2^40.
inline int encode_matrix_map(TensorMap *map, const EvoflashTensor &matrix, int box_rows) {
  if (tensor_map_encoder() == nullptr) return 35;  // cudaErrorInsufficientDriver
  const uint64_t sizes[2] = {uint64_t(matrix.size[1]), uint64_t(matrix.size[0])};
  const int64_t row = matrix.size[0] == 1 ? (matrix.size[1] + 7) / 8 * 8 : matrix.stride[0];  // a single row has none
  if (row <= 0) return EVOFLASH_UNSUPPORTED;
  const uint64_t stride_bytes[1] = {2 * uint64_t(row)};
  const unsigned box[2] = {MatrixPanel::kColumns, unsigned(box_rows)}, element_strides[2] = {1, 1};
  const int error = tensor_map_encoder()(map, cuda_driver::kUint16, 2, matrix.data, sizes, stride_bytes, box,
                                         element_strides, cuda_driver::kNoInterleave, cuda_driver::kSwizzle128B,
                                         cuda_driver::kPromotion256B, cuda_driver::kZeros);
  return error == cuda_driver::kInvalidValue ? EVOFLASH_UNSUPPORTED : error;
}

}  // namespace
#endif

#ifndef EVOFLASH_HOST_ONLY
// Where a box starts.
struct MatrixCoord {
  int column, row;
};

// One thread loads a box into shared memory. Its bytes, zeros beyond the matrix included, complete on the mbarrier.
__device__ __forceinline__ void tma_load_matrix(unsigned smem, const TensorMap &map, MatrixCoord coord,
                                                unsigned barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, { %3, %4 }], "
      "[%2];" ::"r"(smem),
      "l"(&map), "r"(barrier), "r"(coord.column), "r"(coord.row)
      : "memory");
}

// Loads a box to the same address in each block of the cluster that `cta_mask` has a bit for. Its bytes complete on
// each block's own mbarrier.
__device__ __forceinline__ void tma_load_matrix_multicast(unsigned smem, const TensorMap &map, MatrixCoord coord,
                                                          unsigned barrier, unsigned short cta_mask) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, { %3, %4 }], [%2], %5;" ::"r"(smem),
      "l"(&map), "r"(barrier), "r"(coord.column), "r"(coord.row), "h"(cta_mask)
      : "memory");
}

// One thread stores a box. What lies beyond the matrix is left out.
__device__ __forceinline__ void tma_store_matrix(const TensorMap &map, MatrixCoord coord, unsigned smem) {
  asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, { %2, %3 }], [%1];" ::"l"(&map),
               "r"(smem), "r"(coord.column), "r"(coord.row)
               : "memory");
}
#endif

}  // namespace evoflash
