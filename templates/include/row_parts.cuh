#pragma once

#include "cluster.cuh"
#include "mbarrier.cuh"
#include "programmatic_launch.cuh"
#include "smem_address.cuh"
#include "warp.cuh"

// What the warps of a row have found, exchanged among all of them: those of a block, or of all blocks of a cluster.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Two floats of each warp that works on a row, for the rows of a block. Two buffers take turns: a warp that is ahead
// fills the one while others still read the other, so a row needs one barrier. All threads take part in that barrier,
// whether they have a row or not.
//
// The blocks of a cluster send each other their parts, whose bytes end a phase of the receiver's mbarrier. A barrier of
// the cluster would wait for all that its threads have stored in global memory, too. A block has received all parts of
// its last row when it ends, so nobody sends to a block that has ended.
template <int kBlockRows, int kRowThreads, int kCluster>
struct RowParts {
  static_assert(kCluster == 1 || kBlockRows == 1, "a phase of a barrier is a row");
  static constexpr int kWarps = kRowThreads / 32;
  static constexpr int kCount = kWarps * kCluster;
  static constexpr int kLanes = kCount > 16 ? 32 : kCount > 8 ? 16 : kCount > 4 ? 8 : kCount;  // that share the parts
  static constexpr int kBufferBytes = kBlockRows * kCount * int(sizeof(float2));
  static constexpr int kPartsBytes = (2 * kBufferBytes + 15) / 16 * 16;
  static constexpr int kBytes = kPartsBytes + (kCluster > 1 ? 2 * kMbarrierBytes : 0);

  float2 *parts;
  int rank;  // in the cluster
  int turn = 0;
  unsigned parity = 0;  // of the phase that the barriers are in
  bool is_first = true;

  // The barrier of a buffer, behind the buffers.
  __device__ __forceinline__ unsigned barrier(int buffer) const {
    return smem_address(parts) + kPartsBytes + buffer * kMbarrierBytes;
  }

  // What comes before a kernel's first read. The blocks of a cluster meet before their first exchange.
  template <bool kIsEarly>
  __device__ __forceinline__ void begin() const {
    if constexpr (kCluster > 1) {
      if (threadIdx.x == 0) {
        mbarrier_init(barrier(0), 1);
        mbarrier_init(barrier(1), 1);
        fence_mbarrier_init();
      }
      __syncwarp();  // the arrival is one of whole warps
      cluster_arrive_relaxed();
    }
    if constexpr (kIsEarly) {
      wait_for_prerequisites();  // the kernel ahead may write what this one reads
      launch_dependents();
    }
  }

  // The parts of the row that this thread works on, in the same order in each warp: bits do not depend on who is first.
  __device__ __forceinline__ const float2 *exchange(float2 own) {
    const int buffer = turn;
    float2 *const row = parts + (buffer * kBlockRows + threadIdx.x / kRowThreads) * kCount;
    turn ^= 1;
    float2 *const place = row + rank * kWarps + threadIdx.x % kRowThreads / 32;
    const int lane = threadIdx.x % 32;
    if constexpr (kCluster > 1) {
      if (is_first) cluster_wait();
      is_first = false;
      if (threadIdx.x == 0) mbarrier_arrive_expect_tx(barrier(buffer), kBufferBytes);
      if (lane < kCluster)
        store_remote(remote_address(smem_address(place), lane), own, remote_address(barrier(buffer), lane));
      mbarrier_wait(barrier(buffer), parity);
      if (turn == 0) parity ^= 1;
    } else {
      if (lane == 0) *place = own;
      __syncthreads();
    }
    return row;
  }
};

}  // namespace evoflash
#endif
