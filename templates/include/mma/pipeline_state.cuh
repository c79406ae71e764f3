#pragma once

// A place in the ring of stages.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits>
struct PipelineState {
  int stage = 0;
  unsigned phase = 0;  // the parity of the phase in which the stage's barriers are waited for

  __device__ __forceinline__ void advance() {
    if constexpr (Traits::kStages == 1) {
      phase ^= 1;
    } else if constexpr (!Traits::kIsTma) {
      const int next = stage + 1;
      stage = next == Traits::kStages ? 0 : next;
    } else if (++stage == Traits::kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

}  // namespace evoflash::mma
#endif
