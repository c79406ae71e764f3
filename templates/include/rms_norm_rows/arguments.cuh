#pragma once

#include "evoflash.h"

namespace evoflash::rms_norm_rows {

enum class Quantize { kNone, kInt8, kFp8 };
enum class WeightLoad {
  kLate,   // when the row is normalised
  kEarly,  // with the row, before it is added up
  kKept,   // once, for all rows of the block
};

// Strides between rows in elements.
struct Arguments {
  const void *x, *residual, *weight;
  void *out, *total;
  float *scale;  // of quantised rows
  int64_t x_stride, residual_stride, out_stride, total_stride;
  int rows, columns;
  float inverse_columns, eps;
};

}  // namespace evoflash::rms_norm_rows
