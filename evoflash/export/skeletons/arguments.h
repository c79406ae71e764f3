// Tensors as kernels are given them, by PyTorch's.
#pragma once
#include "evoflash.h"
#include "pytorch.h"

namespace {

// The EvoflashDtype of a dtype of PyTorch (c10::ScalarType); -1 for one that no kernel takes.
int32_t code_of(int32_t dtype) {
  switch (dtype) {
    case 0:
      return EVOFLASH_UINT8;
    case 1:
      return EVOFLASH_INT8;
    case 2:
      return EVOFLASH_INT16;
    case 3:
      return EVOFLASH_INT32;
    case 4:
      return EVOFLASH_INT64;
    case 5:
      return EVOFLASH_FLOAT16;
    case 6:
      return EVOFLASH_FLOAT32;
    case 7:
      return EVOFLASH_FLOAT64;
    case 11:
      return EVOFLASH_BOOL;
    case 15:
      return EVOFLASH_BFLOAT16;
    case 23:
      return EVOFLASH_FLOAT8_E5M2;
    case 24:
      return EVOFLASH_FLOAT8_E4M3;
    default:
      return -1;
  }
}

// Of a tensor that has at most EVOFLASH_MAX_RANK dimensions.
EvoflashTensor argument(const Operand &tensor) {
  EvoflashTensor made{tensor.data, code_of(tensor.dtype), int32_t(tensor.dims)};
  for (int64_t axis = 0; axis < tensor.dims; ++axis)
    made.size[axis] = tensor.size[axis], made.stride[axis] = tensor.stride[axis];
  return made;
}

}  // namespace
