#pragma once

#include "linear/epilogue.cuh"

namespace evoflash::linear_mma {

// The kernel's parameters.
struct Arguments {
  linear::Rows x, weight;
  linear::EpilogueArguments epilogue;
  float *partials;  // [split][m][n], where a second kernel merges
  int m, n, k, k_blocks;
  int m_tiles, n_tiles;
};

}  // namespace evoflash::linear_mma
