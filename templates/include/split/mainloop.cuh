#pragma once

#include "mask.cuh"
#include "named_barrier.cuh"
#include "softmax.cuh"
#include "split/gemm.cuh"
#include "split/producer.cuh"
#include "split/storage.cuh"
#include "split/tile_coord.cuh"
#include "static_for.cuh"

// What a warpgroup computes: its rows of O over a split of the keys.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

template <class Traits>
using RowSoftmax = Softmax<Traits::kRowsPerLane, Traits::kRescaleThreshold, Traits::kPolynomialShare>;

// Hides the keys that rows must not see.
template <class Traits, bool kIsExactN = Traits::kIsExactN>
struct Mask {
  int visible[Traits::kRowsPerLane];  // the number of keys that the lane's rows see
  int all_visible;                    // that all rows of the warp see: up to these the mask is not needed

  __device__ __forceinline__ Mask(const Arguments<Traits> &args, const TileCoord<Traits> &coord) {
    const int row = coord.first_row + coord.warp_row + coord.lane / 4;
#pragma unroll
    for (int half = 0; half < Traits::kRowsPerLane; ++half) visible[half] = visible_keys(args, row + half * 8);
    all_visible = visible_keys(args, coord.first_row + coord.warp_row);
  }

  __device__ __forceinline__ void apply(float (&acc_s)[Traits::kTilesN][4], int first_key) const {
    if (first_key + Traits::kPartKeys > all_visible) apply_mask(acc_s, visible, first_key);
  }
};

template <class Traits>
struct Mask<Traits, true> {
  __device__ __forceinline__ Mask(const Arguments<Traits> &, const TileCoord<Traits> &) {}
  __device__ __forceinline__ void apply(float (&)[Traits::kTilesN][4], int) const {}
};

// Waits for the last products of a step.
template <class Traits>
__device__ __forceinline__ void wait_o(float (&acc_o)[Traits::kTilesHead][4], POperand<Traits> (&p)[Traits::kParts]) {
  warpgroup_wait<0>();
#pragma unroll
  for (int part = Traits::kIsRunningMax ? Traits::kParts - 2 : 0; part < Traits::kParts; ++part)
    warpgroup_fence_operand(p[part]);
  warpgroup_fence_operand(acc_o);
}

template <class Traits>
struct Mainloop {
  static constexpr int kParts = Traits::kParts, kRowsPerLane = Traits::kRowsPerLane;
  using AccO = float[Traits::kTilesHead][4];
  using P = POperand<Traits>[kParts];

  const SharedStorage<Traits> smem;
  const Producer<Traits> producer;
  const TileCoord<Traits> coord;
  const float softmax_scale_log2;

  // All steps of the split. With one-shot softmax, the last products are in flight when it returns.
  __device__ __forceinline__ void run(AccO &acc_o, RowSoftmax<Traits> &softmax, P &p, const Mask<Traits> &mask) const {
    mbarrier_wait(smem.q_full, 0);
    PipelineState<Traits::kStages> state;
    for (int n_block = 0; n_block < (Traits::kIsOnline ? coord.n_blocks : 1); ++n_block) {
      const int first_key = coord.first_key(coord.split, n_block);
      if (!Traits::kMayPassEnd || first_key < coord.key_end) {
        float acc_s[kParts][Traits::kTilesN][4];
        const QOperand<Traits> q(smem, coord.warp);
        const SmemDescriptor tile_k =
            make_smem_descriptor(smem.k(coord.block_split, state.index), Traits::kKvPanelBytes);
        const SmemDescriptor tile_v = advance(tile_k, Traits::kKvBytes);

        const auto multiply_qk = [&](auto part) {
          mbarrier_wait(smem.k_full(coord.block_split, state.index, part.value), state.phase);
          gemm_qk(acc_s[part.value], q, tile_k, part.value);
        };
        const auto multiply_pv = [&](auto part) {
          softmax.scale_apply_exp2(acc_s[part.value], softmax_scale_log2);
          convert_p<Traits>(p[part.value], acc_s[part.value]);
          if constexpr (part.value == 0) mbarrier_wait(smem.v_full(coord.block_split, state.index), state.phase);
          gemm_pv<Traits>(acc_o, p[part.value], tile_v, part.value);
        };
        // Starts the next part's S, and waits for this one's. Batches of `others` may be in flight, too.
        const auto wait_s = [&](auto part, auto others) {
          constexpr bool kIsLast = part.value + 1 == kParts;
          if constexpr (!kIsLast) multiply_qk(Int<part.value + 1>());
          warpgroup_wait<others.value + !kIsLast>();
          warpgroup_fence_operand(acc_s[part.value]);
        };

        multiply_qk(Int<0>());
        if constexpr (Traits::kIsRunningMax) {
          // S of the next part and P V of the part before are in flight while a part's probabilities are computed.
          static_for<kParts>([&](auto part) {
            constexpr bool kIsFirst = part.value == 0;
            wait_s(part, Int<!kIsFirst>());
            if constexpr (part.value > 1) warpgroup_fence_operand(p[part.value - 2]);
            mask.apply(acc_s[part.value], first_key + part.value * Traits::kPartKeys);
            if constexpr (kIsFirst && !Traits::kIsOnline) {
              softmax.reduce_max(softmax.row_max, acc_s[part.value]);
            } else {
              float scores_scale[kRowsPerLane];
              if (softmax.max_get_scale(scores_scale, acc_s[part.value], softmax_scale_log2)) {
                if constexpr (!kIsFirst) warpgroup_wait<0>();
                warpgroup_fence_operand(acc_o);
                softmax.rescale_o(acc_o, scores_scale);
              }
            }
            multiply_pv(part);
          });
        } else {
          // S of the next part is in flight while the maximum of a part is taken.
          float step_max[kRowsPerLane];
#pragma unroll
          for (int half = 0; half < kRowsPerLane; ++half) step_max[half] = -INFINITY;
          static_for<kParts>([&](auto part) {
            wait_s(part, Int<0>());
            mask.apply(acc_s[part.value], first_key + part.value * Traits::kPartKeys);
            softmax.lane_max(step_max, acc_s[part.value]);
          });
#pragma unroll
          for (int half = 0; half < kRowsPerLane; ++half) step_max[half] = warp_reduce_max<4>(step_max[half]);
          if constexpr (Traits::kIsOnline) {
            float scores_scale[kRowsPerLane];
            if (softmax.update_max(scores_scale, step_max, softmax_scale_log2)) softmax.rescale_o(acc_o, scores_scale);
          } else {
#pragma unroll
            for (int half = 0; half < kRowsPerLane; ++half) softmax.row_max[half] = step_max[half];
          }
          static_for<kParts>(multiply_pv);
        }
        if constexpr (Traits::kIsOnline) wait_o<Traits>(acc_o, p);
      }
      if constexpr (Traits::kIsOnline) {
        named_barrier_sync<32 * Traits::kSplitWarps>(1 + coord.block_split);  // all warps have read the stage
        if (coord.warp % Traits::kSplitWarps == 0 && elect_one())
          producer.reload(coord.block_split, n_block, state.index);
        ++state;
      }
    }
  }
};

}  // namespace evoflash::split
#endif
