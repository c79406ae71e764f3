#pragma once

#include "cpu_amx/kernel_traits.h"

namespace evoflash::cpu_amx {

// What a thread works in.
template <class KernelTraits>
struct Scratch {
  using Traits = KernelTraits;

  alignas(64) uint16_t q[Traits::kParts][Traits::kBlockM * Traits::kQStride];
  alignas(64) float acc_s[Traits::kBlockM * Traits::kSStride];
  alignas(64) uint16_t p[Traits::kParts][Traits::kBlockM * Traits::kPStride];
  alignas(64) float acc_o[Traits::kBlockM * Traits::kOStride];
  float row_max[Traits::kBlockM];       // running maximum of a row's scores
  float row_sum[Traits::kBlockM];       // running sum of its probabilities
  float scores_scale[Traits::kBlockM];  // what the newest maximum does to older sums
};

}  // namespace evoflash::cpu_amx
