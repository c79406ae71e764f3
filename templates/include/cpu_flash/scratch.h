#pragma once

#include "cpu_flash/kernel_traits.h"

namespace evoflash::cpu_flash {

template <class Traits>
struct RowScratch {
  alignas(64) typename Traits::RowUnit q[Traits::kBlockM * Traits::kQStride];
  alignas(64) float acc_s[Traits::kORows * Traits::kSStride];  // later P, in place
  alignas(64) float acc_o[Traits::kORows * Traits::kOStride];
  float row_max[Traits::kBlockM];      // running maximum of a row's scores
  float row_sum[Traits::kBlockM];      // running sum of its probabilities
  float scores_scale[Traits::kORows];  // what the newest maximum does to older sums
};

// K and V of a tile of keys, where each tile of query rows packs them again.
template <class Traits, bool kIsThere>
struct KvScratch {};

template <class Traits>
struct KvScratch<Traits, true> {
  alignas(64) typename Traits::Unit packed_k[Traits::kBlockN * Traits::kKeyUnits];
  alignas(64) typename Traits::Unit packed_v[Traits::kBlockN / Traits::kVnni * Traits::kValueUnits];
};

// What a thread works in.
template <class KernelTraits>
struct Scratch : RowScratch<KernelTraits>, KvScratch<KernelTraits, KernelTraits::kPacking == Packing::kTile> {
  using Traits = KernelTraits;
};

}  // namespace evoflash::cpu_flash
