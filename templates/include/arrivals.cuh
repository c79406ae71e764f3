#pragma once

#include "attention.h"

// Blocks that count how many of them have arrived, in memory that nobody has prepared: the last one goes on with what
// all have written.
//
// A counter's upper 48 bits say that it counts. Each block sees to that when it starts, and whichever comes first
// begins at zero; the last one to arrive leaves a zero behind. So it may be anything at first but by chance, once in
// 2^48, a counter already. No block waits for another, so they need not run at the same time.
namespace evoflash {

typedef unsigned long long ArrivalCounter;

#ifndef EVOFLASH_HOST_ONLY
constexpr unsigned long long kCounts = 0x6576'6f66'6c61ull << 16;
constexpr unsigned long long kArrivals = 0xffff;

// By one thread of the block, before arrive().
__device__ __forceinline__ void prepare_arrivals(ArrivalCounter *counter) {
  const unsigned long long found = *static_cast<volatile ArrivalCounter *>(counter);
  if ((found & ~kArrivals) != kCounts) atomicCAS(counter, found, kCounts);  // it fails where another block was first
}

// By the same thread, after a barrier behind all that the block has written. Whether it is the last of `count` blocks;
// then, after another barrier, the block may read by load_written() what the others have written.
__device__ __forceinline__ bool arrive_last(ArrivalCounter *counter, int count) {
  __threadfence();
  const bool is_last = int(atomicAdd(counter, 1ull) & kArrivals) == count - 1;
  if (is_last) *static_cast<volatile ArrivalCounter *>(counter) = 0;
  __threadfence();
  return is_last;
}

// Past the L1 cache, which may hold what was there before.
__device__ __forceinline__ float4 load_written(const float4 *from) { return __ldcg(from); }
__device__ __forceinline__ float2 load_written(const float2 *from) { return __ldcg(from); }
#endif

}  // namespace evoflash
