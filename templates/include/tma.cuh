#pragma once

#include "attention_problem.h"
#include "tensor_map.cuh"

// TMA, the copy engine of sm_90, which moves boxes of a tensor between global and shared memory.
//
// A tensor map (tensor_map.cuh) describes a tensor of [batch][heads][rows][head_dim] elements of 2 bytes. It has a
// dimension for each of these, so strides may be anything, and a box that starts in a head and ends beyond its last row
// is filled up with zeros: it never reads the next head.
//
// A box is a panel of columns. Those beyond the head dimension are filled up with zeros, too, and not stored. The rows
// of a panel follow each other in shared memory without padding. The 16-byte units of a row are swizzled, so that the
// same unit of consecutive rows lies in different banks: unit u of row r lies at position u ^ r % 8, in panels of 32
// columns at u ^ r / 2 % 4. The swizzle permutes address bits, so panels start on multiples of 1024 bytes.
namespace evoflash {

// The panels of a head dimension, of kPanelDims columns (64 or 32) each.
template <int kHeadDim, int kPanelDims = kHeadDim % 64 == 0 ? 64 : 32>
struct TmaPanel {
  static constexpr int kDims = kPanelDims;
  static constexpr int kRowBytes = 2 * kDims;
  static constexpr int kCount = (kHeadDim + kDims - 1) / kDims;
};

#ifndef EVOFLASH_DEVICE_ONLY
namespace {

// Encodes the map of a tensor for boxes of box_rows (at most 256) rows of a panel, which is swizzled if it has 64 or 32
// columns. Returns 0, or EVOFLASH_UNSUPPORTED for a tensor that a map cannot describe: strides have to be multiples of
// 16 bytes, above 0 and below 2^40.
template <int kHeadDim, class Panel = TmaPanel<kHeadDim>>
int encode_tensor_map(TensorMap *map, const void *base, const int64_t (&stride)[3], int batch, int heads, int rows,
                      int box_rows) {
  if (tensor_map_encoder() == nullptr) return 35;  // cudaErrorInsufficientDriver
  constexpr auto kSwizzle = Panel::kDims == 64   ? cuda_driver::kSwizzle128B
                            : Panel::kDims == 32 ? cuda_driver::kSwizzle64B
                                                 : cuda_driver::kNoSwizzle;
  const uint64_t sizes[4] = {uint64_t(kHeadDim), uint64_t(rows), uint64_t(heads), uint64_t(batch)};
  uint64_t stride_bytes[3];  // of rows, heads and batches
  for (int i = 0; i < 3; ++i) {
    const int64_t elements = sizes[i + 1] == 1 ? kHeadDim : stride[2 - i];  // a dimension of size 1 has no stride
    if (elements <= 0) return EVOFLASH_UNSUPPORTED;
    stride_bytes[i] = 2 * uint64_t(elements);
  }
  const unsigned box[4] = {Panel::kDims, unsigned(box_rows), 1, 1}, element_strides[4] = {1, 1, 1, 1};
  const int error = tensor_map_encoder()(map, cuda_driver::kUint16, 4, const_cast<void *>(base), sizes, stride_bytes,
                                         box, element_strides, cuda_driver::kNoInterleave, kSwizzle,
                                         cuda_driver::kPromotion256B, cuda_driver::kZeros);
  return error == cuda_driver::kInvalidValue ? EVOFLASH_UNSUPPORTED : error;
}

}  // namespace
#endif

#ifndef EVOFLASH_HOST_ONLY
// Where a box starts.
struct TmaCoord {
  int dim, row, bidh, bidb;
};

// One thread loads a box into shared memory. Its bytes, zeros beyond the tensor included, complete on the mbarrier.
__device__ __forceinline__ void tma_load(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, { %3, %4, %5, %6 }], [%2];" ::"r"(smem),
      "l"(&map), "r"(barrier), "r"(coord.dim), "r"(coord.row), "r"(coord.bidh), "r"(coord.bidb)
      : "memory");
}

// The same, with what the L2 cache is to do with the box.
__device__ __forceinline__ void tma_load(unsigned smem, const TensorMap &map, TmaCoord coord, unsigned barrier,
                                         L2Policy policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.L2::cache_hint "
      "[%0], [%1, { %3, %4, %5, %6 }], [%2], %7;" ::"r"(smem),
      "l"(&map), "r"(barrier), "r"(coord.dim), "r"(coord.row), "r"(coord.bidh), "r"(coord.bidb), "l"(policy.bits)
      : "memory");
}

// Loads a box to the same address in each block of the cluster that `cta_mask` has a bit for. Its bytes complete on
// each block's own mbarrier.
__device__ __forceinline__ void tma_load_multicast(unsigned smem, const TensorMap &map, TmaCoord coord,
                                                   unsigned barrier, unsigned short cta_mask) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, { %3, %4, %5, %6 }], [%2], %7;" ::"r"(smem),
      "l"(&map), "r"(barrier), "r"(coord.dim), "r"(coord.row), "r"(coord.bidh), "r"(coord.bidb), "h"(cta_mask)
      : "memory");
}

__device__ __forceinline__ void tma_load_multicast(unsigned smem, const TensorMap &map, TmaCoord coord,
                                                   unsigned barrier, unsigned short cta_mask, L2Policy policy) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster"
      ".L2::cache_hint [%0], [%1, { %3, %4, %5, %6 }], [%2], %7, %8;" ::"r"(smem),
      "l"(&map), "r"(barrier), "r"(coord.dim), "r"(coord.row), "r"(coord.bidh), "r"(coord.bidb), "h"(cta_mask),
      "l"(policy.bits)
      : "memory");
}

// One thread stores a box. What lies beyond the tensor is left out.
__device__ __forceinline__ void tma_store(const TensorMap &map, TmaCoord coord, unsigned smem) {
  asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, { %2, %3, %4, %5 }], [%1];" ::"l"(&map),
               "r"(smem), "r"(coord.dim), "r"(coord.row), "r"(coord.bidh), "r"(coord.bidb)
               : "memory");
}
#endif

}  // namespace evoflash
