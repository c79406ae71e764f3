#pragma once

#include "scalar/kernel_traits.cuh"
#include "scalar/storage.cuh"
#include "warp.cuh"

// The threads that own a query row: a warp or a block.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::scalar {

template <class Traits>
struct RowGroup {
  SharedStorage<Traits> &storage;
  int thread = threadIdx.x % Traits::kGroupThreads;  // of the group
  int index = threadIdx.x / Traits::kGroupThreads;   // of the block's groups

  __device__ __forceinline__ void sync() const {
    if constexpr (Traits::kIsRowOfBlock) {
      __syncthreads();
    } else {
      __syncwarp();
    }
  }

  // Reductions over the group; each thread gets the result. Between two of them there has to be a sync(): it keeps the
  // second from overwriting what is still read for the first.
  __device__ __forceinline__ float reduce_max(float value) const {
    value = warp_reduce_max<32>(value);
    if constexpr (Traits::kIsRowOfBlock) {
      if (threadIdx.x % 32 == 0) storage.of_warp[threadIdx.x / 32] = value;
      __syncthreads();
      for (int warp = 0; warp < Traits::kNumThreads / 32; ++warp) value = fmaxf(value, storage.of_warp[warp]);
    }
    return value;
  }

  __device__ __forceinline__ float reduce_sum(float value) const {
    value = warp_reduce_sum<32>(value);
    if constexpr (Traits::kIsRowOfBlock) {
      if (threadIdx.x % 32 == 0) storage.of_warp[threadIdx.x / 32] = value;
      __syncthreads();
      value = 0;
      for (int warp = 0; warp < Traits::kNumThreads / 32; ++warp) value += storage.of_warp[warp];
    }
    return value;
  }
};

// What a thread of the group works on: first a part of the scores, then a part of the output.
template <class Traits>
struct ThreadCoord {
  int lane;       // of the lanes that share a key
  int key_slice;  // every kKeySlices-th key of a step, from this one on; slices beyond kKeySlices have nothing to do
  int vector;     // every kGroupThreads-th vector of columns, from this one on

  __device__ __forceinline__ explicit ThreadCoord(int thread)
      : lane(thread % Traits::kLanesPerKey),
        key_slice(thread / Traits::kValueVectors),
        vector(thread % Traits::kValueVectors) {}
};

}  // namespace evoflash::scalar
#endif
