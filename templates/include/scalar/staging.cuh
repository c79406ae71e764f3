#pragma once

#include "numeric_types.cuh"
#include "problem.cuh"
#include "scalar/kernel_traits.cuh"

// Keys and values on their way through shared memory, where all rows of a block read them.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::scalar {

// How many keys any row of the block sees: as many as its last.
template <class Traits>
__device__ __forceinline__ int keys_of_block(const EvoflashAttention &problem) {
  const int last_row = min(int(blockIdx.x) * Traits::kBlockM + Traits::kBlockM, problem.seq_q) - 1;
  return visible_keys<Traits::kIsCausal>(problem, last_row);
}

// All threads of the block copy rows into a tile: as many as it holds, but no more than `limit`.
template <class Traits, class Tile, class Element>
__device__ __forceinline__ void load_tile(Tile &tile, const Element *rows, int64_t stride, int limit) {
  constexpr int kVector = Traits::kVector;
  const int num_rows = min(Traits::kBlockN, limit);
  for (int i = threadIdx.x; i < num_rows * Traits::kRowVectors; i += Traits::kNumThreads) {
    const int row = i / Traits::kRowVectors, column = i % Traits::kRowVectors * kVector;
    *reinterpret_cast<Elements<Element, kVector> *>(&tile[row][column]) = load<kVector>(rows + row * stride + column);
  }
}

}  // namespace evoflash::scalar
#endif
