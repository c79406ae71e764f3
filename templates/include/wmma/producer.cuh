#pragma once

#include "cp_async.cuh"
#include "named_barrier.cuh"
#include "wmma/fragments.cuh"
#include "wmma/kernel_traits.cuh"

// Loads of rows into tiles in shared memory, and the barriers between loading and reading.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

// kThreads threads copy kRows rows of a head, from row `first` on, into a tile. Rows from `limit` on become zeros.
template <class Traits, int kRows, int kThreads>
__device__ __forceinline__ void copy_rows(Operand<Traits> (*tile)[Traits::kPitch], const Operand<Traits> *rows,
                                          int stride, int first, int limit, int thread) {
  constexpr int kUnits = Traits::kHeadDim / 8;  // of 16 bytes
#pragma unroll 4                                // more would hold addresses in registers that fragments need
  for (int i = thread; i < kRows * kUnits; i += kThreads) {
    const int row = i / kUnits, column = i % kUnits * 8;
    if constexpr (Traits::kIsAsync) {
      cp_async(&tile[row][column], rows + int64_t(first + row) * stride + column, first + row < limit);
    } else {
      copy_16(&tile[row][column], rows + int64_t(first + row) * stride + column, first + row < limit);
    }
  }
}

// A barrier of the threads that load together.
template <class Traits>
__device__ __forceinline__ void team_sync(int slice) {
  if constexpr (Traits::kIsTeamBlock) {
    __syncthreads();
  } else if constexpr (Traits::kTeamThreads == 32) {
    __syncwarp();
  } else {
    named_barrier_sync<Traits::kTeamThreads>(1 + slice);
  }
}

}  // namespace evoflash::wmma
#endif
