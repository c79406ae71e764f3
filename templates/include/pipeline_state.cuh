#pragma once

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Where a role stands in a ring of stages: the stage, and the parity of the phase in which it is read.
template <int kStages>
struct PipelineState {
  int index = 0;
  unsigned phase = 0;

  __device__ __forceinline__ void operator++() {
    index = index + 1 == kStages ? 0 : index + 1;
    phase ^= index == 0;
  }

  // Past stages that another warpgroup reads.
  __device__ __forceinline__ void skip(int count) {
    phase ^= (index + count) / kStages & 1;
    index = (index + count) % kStages;
  }
};

}  // namespace evoflash
#endif
