#pragma once

#include "numeric_types.cuh"
#include "problem.cuh"
#include "scalar/kernel_traits.cuh"

// Keys and values on their way through shared memory, where all rows of a block read them.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::scalar {

// The keys that any row of the block sees: from the first of its first row to the last of its last.
template <class Traits>
__device__ __forceinline__ int first_key_of_block(const EvoflashAttention &problem) {
  return first_key<Traits>(problem, int(blockIdx.x) * Traits::kBlockM);
}

template <class Traits>
__device__ __forceinline__ int end_key_of_block(const EvoflashAttention &problem) {
  const int last_row = min(int(blockIdx.x) * Traits::kBlockM + Traits::kBlockM, problem.seq_q) - 1;
  return end_key<Traits>(problem, last_row);
}

// All threads of the block copy rows, from that of a key on, into a tile.
template <class Traits, class Element, int kBlockN, int kPitch>
__device__ __forceinline__ void load_tile(Element (&tile)[kBlockN][kPitch], const EvoflashAttention &problem,
                                          const Element *head, const int64_t (&stride)[3], int first, int num_rows) {
  constexpr int kVector = Traits::kVector, kRowVectors = (kPitch - Traits::kPadding) / kVector;
  const Element *const rows = Traits::kPageSize > 0 ? head : head + first * stride[2];
  for (int i = threadIdx.x; i < num_rows * kRowVectors; i += Traits::kNumThreads) {
    const int row = i / kRowVectors, column = i % kRowVectors * kVector;
    const int key = Traits::kPageSize > 0 ? first + row : row;
    const Element *const from = rows + row_offset<Traits>(problem, stride, blockIdx.z, key);
    *reinterpret_cast<Elements<Element, kVector> *>(&tile[row][column]) = load<kVector>(from + column);
  }
}

}  // namespace evoflash::scalar
#endif
