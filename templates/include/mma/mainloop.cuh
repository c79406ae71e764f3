#pragma once

#include "mask.cuh"
#include "mma/fragments.cuh"
#include "mma/gemm.cuh"
#include "mma/pipeline_state.cuh"
#include "mma/storage.cuh"
#include "mma/tile_coord.cuh"
#include "static_for.cuh"

// The loop over the keys.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits, class Producer>
struct Mainloop {
  const Arguments<Traits> &args;
  const WarpCoord<Traits> &coord;
  const KeyRange<Traits> &keys;
  const SharedStorage<Traits> &storage;
  const Producer &producer;
  float softmax_scale_log2;

  // All steps. `before_pv` is called before the last step waits for V where there is but one (one-shot softmax).
  template <class QOperands, class BeforePv>
  __device__ __forceinline__ void run(Fragments<Traits> &fragments, const QOperands &q,
                                      const BeforePv &before_pv) const {
    PipelineState<Traits> state;
    if constexpr (Traits::kIsOnline) {
      for (int n_block = 0; n_block < keys.n_block_max(); ++n_block) {
        step(fragments, q, n_block, state, [] {});
        state.advance();
      }
    } else {
      step(fragments, q, 0, state, before_pv);
    }
  }

 private:
  // P = softmax(Q K^T) over the warp's keys of a step, O += P V.
  template <class QOperands, class BeforePv>
  __device__ __forceinline__ void step(Fragments<Traits> &fragments, const QOperands &q, int n_block,
                                       PipelineState<Traits> state, const BeforePv &before_pv) const {
    const int key = coord.first_key(coord.slice, n_block);
    const bool seen = !Traits::kMaySkip || key < keys.any_end;  // by a row of this warp
    static_for<Traits::kChunks>([&](auto chunk) {
      if constexpr (Producer::kIsCollective) producer.template acquire<Operand::kK, chunk.value>(n_block, state);
      if (seen) {
        if constexpr (!Producer::kIsCollective) producer.template acquire<Operand::kK, chunk.value>(n_block, state);
        gemm_qk<Traits, chunk.value>(fragments.acc_s, q, storage.template tile<Operand::kK>(coord.slice, state.stage));
      }
    });
    producer.template release<Operand::kK>(n_block, state);
    if (seen) {
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) {
        mask(fragments, m, key);
        auto &acc_s = fragments.acc_s[m];
        if constexpr (Traits::kIsOnline) {
          fragments.softmax[m].online_softmax(acc_s, fragments.acc_o[m], softmax_scale_log2, n_block == 0);
        } else {
          fragments.softmax[m].softmax(acc_s, softmax_scale_log2);
        }
        convert_p<typename Traits::Element>(fragments.p[m], acc_s);
      }
    }
    before_pv();
    static_for<Traits::kChunks>([&](auto chunk) {
      if constexpr (Producer::kIsCollective) producer.template acquire<Operand::kV, chunk.value>(n_block, state);
      if (seen) {
        if constexpr (!Producer::kIsCollective) producer.template acquire<Operand::kV, chunk.value>(n_block, state);
        gemm_pv<Traits, chunk.value>(fragments.acc_o, fragments.p, storage.template tile<Operand::kV>(coord.slice, state.stage));
      }
    });
    producer.template release<Operand::kV>(n_block, state);
  }

  // Hides the keys that a row does not see, if the step goes beyond what the warp's first row sees.
  __device__ __forceinline__ void mask(Fragments<Traits> &fragments, int m, int key) const {
    if constexpr (!Traits::kIsEvenN) {
      if (key + Traits::kWarpN > keys.all_end) {
        const int row = coord.first_row + coord.warp_row + m * 16 + coord.lane / 4;
        fragments.visible[0] = visible_keys(args, row);
        fragments.visible[1] = visible_keys(args, row + 8);
        apply_mask(fragments.acc_s[m], fragments.visible, key);
      }
    }
  }
};

}  // namespace evoflash::mma
#endif
