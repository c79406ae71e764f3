#pragma once

#include "dtypes.h"
#include "fused_linear.h"
#include "numeric_types.cuh"

// What kernels take of the problem, whatever their family: contiguous columns, rows that start on multiples of 16
// bytes, and so n and k that are multiples of 8. m may be anything.
#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::linear {
namespace {

// A matrix of `rows` by `columns` elements of 2 bytes whose rows may be read and written 16 bytes at a time.
template <class Element>
bool is_matrix(const EvoflashTensor &tensor, int64_t rows, int64_t columns) {
  if (tensor.dtype != kDtype<Element> || tensor.rank != 2) return false;
  if (tensor.size[0] != rows || tensor.size[1] != columns) return false;
  if (columns > 1 && tensor.stride[1] != 1) return false;
  if (rows > 1 && tensor.stride[0] % 8 != 0) return false;
  return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0;
}

template <class Element>
bool is_supported(const FusedLinear &problem) {
  const int64_t m = problem.x.size[0], k = problem.x.size[1], n = problem.weight.size[0];
  constexpr int64_t kLargest = INT32_MAX - 1024;  // a tile beyond it is still an int
  if (m < 0 || n < 0 || k <= 0 || m > kLargest || n > kLargest || k > kLargest) return false;
  if (n % 8 != 0 || k % 8 != 0) return false;
  const EvoflashTensor &bias = problem.bias;
  if (bias.dtype != kDtype<Element> || bias.rank != 1 || bias.size[0] != n || (n > 1 && bias.stride[0] != 1))
    return false;
  if (reinterpret_cast<uintptr_t>(bias.data) % 16 != 0) return false;
  return is_matrix<Element>(problem.x, m, k) && is_matrix<Element>(problem.weight, n, k) &&
         is_matrix<Element>(problem.residual, m, n) && is_matrix<Element>(problem.out, m, n);
}

}  // namespace
}  // namespace evoflash::linear
#endif
