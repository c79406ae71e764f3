#pragma once

#include "numeric_types.cuh"
#include "problem.cuh"
#include "scalar/kernel_traits.cuh"

// Keys and values on their way through shared memory, where all rows of a block read them.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::scalar {

// The keys that any row of the block sees: from the first of its first row to the last of its last.
template <class Traits>
__device__ __forceinline__ int first_key_of_block(const AttentionProblem &problem) {
  return first_key<Traits>(problem, int(blockIdx.x) * Traits::kBlockM);
}

template <class Traits>
__device__ __forceinline__ int end_key_of_block(const AttentionProblem &problem) {
  const int last_row = min(int(blockIdx.x) * Traits::kBlockM + Traits::kBlockM, problem.seq_q) - 1;
  return end_key<Traits>(problem, last_row);
}

// All threads of the block copy rows into a tile.
template <class Traits, class Element, int kBlockN, int kPitch>
__device__ __forceinline__ void load_tile(Element (&tile)[kBlockN][kPitch], const Element *rows, int64_t stride,
                                          int num_rows) {
  constexpr int kVector = Traits::kVector, kRowVectors = (kPitch - Traits::kPadding) / kVector;
  for (int i = threadIdx.x; i < num_rows * kRowVectors; i += Traits::kNumThreads) {
    const int row = i / kRowVectors, column = i % kRowVectors * kVector;
    *reinterpret_cast<Elements<Element, kVector> *>(&tile[row][column]) = load<kVector>(rows + row * stride + column);
  }
}

// The same from pages; the first row is that of a key, and the head begins at `head` in page 0.
template <class Traits, class Element, int kBlockN, int kPitch>
__device__ __forceinline__ void load_paged_tile(Element (&tile)[kBlockN][kPitch], const AttentionProblem &problem,
                                                const Element *head, const int64_t (&stride)[3], int first_key,
                                                int num_rows) {
  constexpr int kVector = Traits::kVector;
  constexpr int kVectors = (kPitch - Traits::kPadding) / kVector;  // of a row
  for (int i = threadIdx.x; i < num_rows * kVectors; i += Traits::kNumThreads) {
    const int row = i / kVectors, column = i % kVectors * kVector;
    const Element *const from = head + row_offset<Traits>(problem, stride, blockIdx.z, first_key + row) + column;
    *reinterpret_cast<Elements<Element, kVector> *>(&tile[row][column]) = load<kVector>(from);
  }
}

}  // namespace evoflash::scalar
#endif
