#pragma once

#include "evoflash.h"

namespace evoflash::cross_entropy_rows {

// Strides between rows in elements.
struct Arguments {
  const void *logits;
  const int64_t *target;
  float *loss;
  void *grad;
  int64_t logits_stride, grad_stride;
  int rows, vocabulary;
};

}  // namespace evoflash::cross_entropy_rows
