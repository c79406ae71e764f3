#pragma once

// A part of the sum: blocks of its terms.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear {

struct Part {
  int first, count;
};

// The split-th of kNumSplits parts. The first ones have a block more where they cannot be alike.
template <int kNumSplits>
__device__ __forceinline__ Part part_of(int k_blocks, int split) {
  const int share = k_blocks / kNumSplits, rest = k_blocks % kNumSplits;
  return {split * share + min(split, rest), share + (split < rest)};
}

}  // namespace evoflash::linear
#endif
