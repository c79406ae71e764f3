#pragma once

#include "linear_wgmma/arguments.cuh"
#include "linear_wgmma/storage.cuh"
#include "linear_wgmma/tile_scheduler.cuh"
#include "tma_matrix.cuh"

// Loads the stages of x and of the weight by TMA.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_wgmma {

// Loads rows that kSharers blocks of the cluster need. Each of them, this one being the `part`-th, loads as many rows
// for all, which `cta_mask` tells.
template <int kSharers, int kBoxRows>
__device__ __forceinline__ void load_rows(unsigned smem, const TensorMap &map, int k, int row, unsigned full, int part,
                                          unsigned short cta_mask) {
  if constexpr (kSharers > 1) {
    tma_load_matrix_multicast(smem + part * kBoxRows * MatrixPanel::kRowBytes, map, {k, row + part * kBoxRows}, full,
                              cta_mask);
  } else {
    tma_load_matrix(smem, map, {k, row}, full);
  }
}

// What the one thread that loads does.
template <class Traits>
__device__ __forceinline__ void produce(const SharedStorage<Traits> &smem, const Arguments &args, int rank) {
  // Blocks of the same rows share x, and those of the same columns the weight.
  constexpr int kClusterM = Traits::kClusterM, kClusterN = Traits::kClusterN;
  const int rank_m = rank / kClusterN, rank_n = rank % kClusterN;
  const auto x_mask = static_cast<unsigned short>(((1 << kClusterN) - 1) << rank_m * kClusterN);
  const auto weight_mask = static_cast<unsigned short>((kClusterM > 1 ? 1 | 1 << kClusterN : 1) << rank_n);

  PipelineState<Traits::kStages> state;
  for (int n = 0, number; (number = unit_number<Traits>(n)) < args.units; ++n) {
    const Unit unit = make_unit<Traits>(args, number, rank);
    for (int k_block = 0; k_block < unit.k_blocks; ++k_block, ++state) {
      const int k = (unit.first_k + k_block) * Traits::kBlockK;
      const unsigned full = smem.full(state.index);
      mbarrier_wait(smem.empty(state.index), state.phase ^ 1);
      mbarrier_arrive_expect_tx(full, Traits::kXBytes + Traits::kWeightBytes);
      load_rows<kClusterN, Traits::kXBoxRows>(smem.x(state.index), args.x, k, unit.row, full, rank_n, x_mask);
      load_rows<kClusterM, Traits::kWeightBoxRows>(smem.weight(state.index), args.weight, k, unit.column, full, rank_m,
                                                   weight_mask);
    }
    if constexpr (!Traits::kIsPersistent) break;
  }

  if constexpr (Traits::kIsCluster) {
    // The other blocks of the cluster arrive at this block's barriers until they have read the last stages, too. A
    // block must not exit before.
    for (int stage = 0; stage < Traits::kStages; ++stage, ++state)
      mbarrier_wait(smem.empty(state.index), state.phase ^ 1);
  }
}

}  // namespace evoflash::linear_wgmma
#endif
