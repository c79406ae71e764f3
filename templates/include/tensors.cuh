#pragma once

#include "attention_problem.h"

// Tensors as kernels take them. The launcher prepares what it can: a block's first loads wait for whatever arithmetic
// is left. Rows start on multiples of 16 bytes (see rows_aligned in checks.cuh), so strides are counted in units of 16
// bytes, and fit an int.
namespace evoflash {
namespace {

// A tensor of [batch][heads][rows][head_dim] elements of 2 bytes.
struct Tensor {
  unsigned char *base;
  int batch, head, row;  // strides, in units of 16 bytes
};

#ifndef EVOFLASH_DEVICE_ONLY
inline bool strides_fit_int(const int64_t (&stride)[3]) {
  for (const int64_t elements : stride)
    if (elements / 8 < INT32_MIN || elements / 8 > INT32_MAX) return false;
  return true;
}

inline Tensor make_tensor(const void *base, const int64_t (&stride)[3]) {
  return {static_cast<unsigned char *>(const_cast<void *>(base)), int(stride[0] / 8), int(stride[1] / 8),
          int(stride[2] / 8)};
}

// For heads up to 32768, head / group is (head * group_inverse(group)) >> 31. A division would delay the start of the
// kernel by some 60 instructions.
inline unsigned group_inverse(int group) { return ((1u << 31) + unsigned(group) - 1) / unsigned(group); }
#endif

#ifndef EVOFLASH_HOST_ONLY
__device__ __forceinline__ unsigned char *row_of(const Tensor &tensor, int bidb, int bidh, int row) {
  return tensor.base + 16 * (int64_t(bidb) * tensor.batch + int64_t(bidh) * tensor.head + int64_t(row) * tensor.row);
}

// The head of the keys and values that a query head attends to.
__device__ __forceinline__ int kv_head_of(int bidh, unsigned inverse) {
  return int((unsigned long long)(unsigned(bidh)) * inverse >> 31);
}
#endif

}  // namespace
}  // namespace evoflash
