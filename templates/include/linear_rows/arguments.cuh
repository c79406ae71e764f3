#pragma once

#include "linear/epilogue.cuh"

namespace evoflash::linear_rows {

// The kernel's parameters.
struct Arguments {
  linear::Rows x, weight;
  linear::EpilogueArguments epilogue;
  int m, n, k;
};

}  // namespace evoflash::linear_rows
