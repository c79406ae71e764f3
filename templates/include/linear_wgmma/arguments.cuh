#pragma once

#include "linear_wgmma/kernel_traits.cuh"
#include "tensor_map.cuh"

namespace evoflash::linear_wgmma {

// The kernel's parameters. Tiles are counted in those of a cluster.
struct Arguments {
  TensorMap x, weight, residual, out;
  const unsigned char *bias;
  float *partials;  // [split][m][n], with split-K instead of the residual and the output
  int m, n, k_blocks;
  int m_tiles, n_tiles, units;  // a unit of work is a tile's part of the sum
};

}  // namespace evoflash::linear_wgmma
