#pragma once

#include "cluster.cuh"
#include "programmatic_launch.cuh"
#include "smem_address.cuh"
#include "warp.cuh"

// What the warps of a row have found, exchanged among all of them: those of a block, or of all blocks of a cluster.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// What comes before a kernel's first read, and its first store to another block, which must be running.
template <class Config>
__device__ __forceinline__ void begin_rows() {
  if constexpr (Config::kIsEarly) {
    wait_for_prerequisites();  // the kernel ahead may write what this one reads
    launch_dependents();
  }
  if constexpr (Config::kCluster > 1) cluster_sync();
}

// Two floats of each warp that works on a row, for the rows of a block. Two buffers take turns: a warp that is ahead
// fills the one while others still read the other, so a row needs one barrier. All threads take part in that barrier,
// whether they have a row or not.
template <int kBlockRows, int kRowThreads, int kCluster>
struct RowParts {
  static constexpr int kWarps = kRowThreads / 32;
  static constexpr int kCount = kWarps * kCluster;
  static constexpr int kBytes = (2 * kBlockRows * kCount * int(sizeof(float2)) + 15) / 16 * 16;

  float2 *parts;
  int rank;  // in the cluster
  int turn = 0;

  // The parts of the row that this thread works on, in the same order in each warp: bits do not depend on who is first.
  __device__ __forceinline__ const float2 *exchange(float2 own) {
    float2 *const row = parts + (turn * kBlockRows + threadIdx.x / kRowThreads) * kCount;
    turn ^= 1;
    float2 *const place = row + rank * kWarps + threadIdx.x % kRowThreads / 32;
    const int lane = threadIdx.x % 32;
    if constexpr (kCluster > 1) {
      if (lane < kCluster) store_remote(remote_address(smem_address(place), lane), own);
      cluster_sync();
    } else {
      if (lane == 0) *place = own;
      __syncthreads();
    }
    return row;
  }
};

}  // namespace evoflash
#endif
