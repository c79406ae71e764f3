#pragma once

#include "linear_wgmma/epilogue.cuh"
#include "linear_wgmma/storage.cuh"
#include "linear_wgmma/tile_scheduler.cuh"
#include "named_barrier.cuh"
#include "wgmma.cuh"

// What a warpgroup computes.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_wgmma {

template <class Traits>
struct Consumer {
  using Accumulators = float[Traits::kRowBlocks][Traits::kTilesN][4];
  using State = PipelineState<Traits::kStages>;

  const SharedStorage<Traits> &smem;
  const Arguments &args;
  int warpgroup, rank;

  // Warpgroups take turns at the tensor cores (ping-pong). Each waits at a barrier of its own, at which the other one
  // arrives when all stages of its tile have come. So it never waits for a stage more than a phase ahead either, which
  // the parity of a phase could not tell.
  __device__ __forceinline__ void wait_for_turn() const {
    if constexpr (Traits::kIsPingPong) named_barrier_sync<256>(1 + warpgroup);
  }
  __device__ __forceinline__ void give_turn() const {
    if constexpr (Traits::kIsPingPong) named_barrier_arrive<256>(2 - warpgroup);
  }

  // A warp has read a stage. In a cluster, each block that loads a part of it has to know.
  __device__ __forceinline__ void release(int stage) const {
    if constexpr (Traits::kIsCluster) {
      if (threadIdx.x % 32 < Traits::kCluster) mbarrier_arrive_remote(smem.empty(stage), threadIdx.x % 32);
    } else {
      if (threadIdx.x % 32 == 0) mbarrier_arrive(smem.empty(stage));
    }
  }

  // Issues the products of a stage, as a batch. The first stage of a tile overwrites the accumulators.
  __device__ __forceinline__ void multiply_stage(Accumulators &acc, int stage, bool is_first) const {
    constexpr int kRowBlockBytes = 64 * MatrixPanel::kRowBytes;
    const int first_block = Traits::kIsPingPong ? 0 : warpgroup * Traits::kRowBlocks;
    const SmemDescriptor x = make_smem_descriptor(smem.x(stage) + first_block * kRowBlockBytes, kNoPanelStride);
    const SmemDescriptor weight = make_smem_descriptor(smem.weight(stage), kNoPanelStride);
    warpgroup_arrive();
#pragma unroll
    for (int k = 0; k < Traits::kBlockK / Traits::kStepK; ++k)
#pragma unroll
      for (int block = 0; block < Traits::kRowBlocks; ++block)
        wgmma_ss<typename Traits::Element, Major::kK>(acc[block],
                                                      advance(x, block * kRowBlockBytes + k * 2 * Traits::kStepK),
                                                      advance(weight, k * 2 * Traits::kStepK), k > 0 || !is_first);
    warpgroup_commit_batch();
  }

  // The products of a unit. The batch of a stage runs while the next one is issued, and the stage before is released.
  __device__ __forceinline__ void multiply(Accumulators &acc, State &state, const Unit &unit,
                                           const Epilogue<Traits> &epilogue) const {
    mbarrier_wait(smem.full(state.index), state.phase);
    multiply_stage(acc, state.index, true);
    int last = state.index;
    ++state;
    epilogue.load_first(unit);
    for (int k_block = 1; k_block < unit.k_blocks; ++k_block) {
      mbarrier_wait(smem.full(state.index), state.phase);
      multiply_stage(acc, state.index, false);
      warpgroup_wait<1>();
      release(last);
      last = state.index;
      ++state;
    }
    give_turn();
    warpgroup_wait<0>();
#pragma unroll
    for (int block = 0; block < Traits::kRowBlocks; ++block) warpgroup_fence_operand(acc[block]);
    release(last);
  }

  __device__ __forceinline__ void run() const {
    State state;
    Epilogue<Traits> epilogue(smem, args, warpgroup);
    if (warpgroup == Traits::kNumWarpgroups - 1) give_turn();  // the first warpgroup may start
    for (int n = 0, number; (number = unit_number<Traits>(n)) < args.units; ++n) {
      Unit unit = make_unit<Traits>(args, number, rank);
      if (Traits::kIsPingPong && n % 2 != warpgroup) {
        state.skip(unit.k_blocks);
      } else {
        if constexpr (!Traits::kIsPingPong) unit.row += warpgroup * Traits::kWarpgroupM;
        Accumulators acc;
        wait_for_turn();
        multiply(acc, state, unit, epilogue);
        epilogue.store(acc, unit);
      }
      if constexpr (!Traits::kIsPersistent) break;
    }
    epilogue.finish_stores();
  }
};

}  // namespace evoflash::linear_wgmma
#endif
