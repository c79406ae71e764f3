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

// Of a tensor that has at most EVOFLASH_MAX_RANK dimensions. What is beyond its own stays as it was.
void set(EvoflashTensor &argument, const Operand &tensor) {
  argument.data = tensor.data, argument.dtype = code_of(tensor.dtype), argument.rank = int32_t(tensor.dims);
  for (int64_t axis = 0; axis < tensor.dims; ++axis)
    argument.size[axis] = tensor.size[axis], argument.stride[axis] = tensor.stride[axis];
}

// Makes tensors absent. To clear their sizes, too, would take longer than to fill in those that a call has.
void clear(EvoflashTensor *arguments, size_t count) {
  for (size_t i = 0; i < count; ++i) arguments[i].data = nullptr, arguments[i].rank = 0;
}

}  // namespace
