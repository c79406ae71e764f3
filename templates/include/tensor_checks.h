#pragma once

#include "evoflash.h"

// What a launcher asks about tensors before it launches: a kernel answers wrongly for nothing, it refuses.
#ifndef EVOFLASH_DEVICE_ONLY  // a launcher is host code
namespace evoflash {
namespace {

// A matrix of this type and these sizes, whose rows are contiguous. The stride between them may be anything.
inline bool is_matrix(const EvoflashTensor &tensor, int dtype, int64_t rows, int64_t columns) {
  return tensor.dtype == dtype && tensor.rank == 2 && tensor.size[0] == rows && tensor.size[1] == columns &&
         (tensor.stride[1] == 1 || columns == 1);
}

// A contiguous vector.
inline bool is_vector(const EvoflashTensor &tensor, int dtype, int64_t size) {
  return tensor.dtype == dtype && tensor.rank == 1 && tensor.size[0] == size && (tensor.stride[0] == 1 || size == 1);
}

// Whether every row of a matrix, or a vector, begins on a multiple of so many bytes, a power of two.
inline bool is_aligned(const EvoflashTensor &tensor, int element_bytes, int bytes) {
  const int64_t step = tensor.rank == 2 && tensor.size[0] > 1 ? tensor.stride[0] * element_bytes : 0;
  return (reinterpret_cast<uintptr_t>(tensor.data) | uintptr_t(step)) % bytes == 0;
}

}  // namespace
}  // namespace evoflash
#endif
