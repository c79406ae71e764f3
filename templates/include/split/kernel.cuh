#pragma once

#include "cluster.cuh"
#include "mask.cuh"
#include "math.cuh"
#include "named_barrier.cuh"
#include "score_tile.cuh"
#include "split/epilogue.cuh"
#include "split/gemm.cuh"
#include "split/output_tile.cuh"
#include "split/producer.cuh"
#include "split/storage.cuh"
#include "split/tile_coord.cuh"
#include "static_for.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

// A sink is one more key, with a value of 0, that the first split has seen before all others.
template <class Traits>
__device__ __forceinline__ void add_sink(RowSoftmax<Traits> &softmax, const Arguments<Traits> &args,
                                         const TileCoord<Traits> &coord, float softmax_scale_log2) {
  static_assert(Traits::kIsOnline, "a softmax over all keys at once begins anew");
  if (coord.split != 0) return;
  const float logit = args.problem.sinks[coord.bidh];
  softmax.begin_with_sink(kHasFullScores<Traits> ? logit : logit / args.problem.scale, softmax_scale_log2);
}

// Hides the keys before a band from a part's scores.
template <class Traits>
__device__ __forceinline__ void mask_before(float (&acc_s)[Traits::kTilesN][4], const Arguments<Traits> &args,
                                            const TileCoord<Traits> &coord, int part_key) {
  const int warp_row = coord.first_row + coord.warp_row;
  if (part_key >= first_key<Traits>(args.problem, warp_row + Traits::kWarpM - 1)) return;
  int first[Traits::kRowsPerLane];
#pragma unroll
  for (int half = 0; half < Traits::kRowsPerLane; ++half)
    first[half] = first_key<Traits>(args.problem, warp_row + half * 8 + coord.lane / 4);
  hide_keys_before(acc_s, first, part_key);
}

// The kernel: a warpgroup computes its rows of O over a split of the keys.
//
// It is one function, in which loads, products and the epilogue are called: the compiler keeps accumulators in better
// order where the loop and their declaration stand together.
template <class Traits>
__device__ __forceinline__ void attention(unsigned char *shared_memory, const Arguments<Traits> &args) {
  constexpr int kParts = Traits::kParts, kPartKeys = Traits::kPartKeys, kRowsPerLane = Traits::kRowsPerLane;
  const TileCoord<Traits> coord(args);
  const SharedStorage<Traits> smem(shared_memory);
  const Producer<Traits> producer{smem, args, coord};

  producer.begin(coord.warp);
  __syncwarp();
  if constexpr (Traits::kIsCluster) cluster_arrive_relaxed();  // from now on other blocks may send to this one
  __syncthreads();

  // Read while the loads are in flight: parameters come from far, too.
  OutputTile<Traits> out(args, coord);
  float softmax_scale_log2 = args.softmax_scale_log2;
  asm volatile("" : "+l"(out.base), "+r"(out.row_stride), "+f"(softmax_scale_log2));

  RowSoftmax<Traits> softmax;
  if constexpr (Traits::kHasSinks) add_sink<Traits>(softmax, args, coord, softmax_scale_log2);
  auto terms = make_score_tile<Traits, Traits::kTilesN, kRowsPerLane>(
      args, coord.bidb, coord.bidh, coord.first_row + coord.warp_row + coord.lane / 4);
  float acc_o[Traits::kTilesValue][4] = {};
  POperand<Traits> p[kParts];
  if constexpr (!Traits::kIsOnline && !Traits::kIsExactN) clear<Traits>(p);  // a split without keys computes none

  // The number of keys that the lane's rows see, and that all rows of the warp see: up to there no mask is needed.
  int visible[kRowsPerLane], all_visible;
  if constexpr (!Traits::kIsExactN) {
    const int row = coord.first_row + coord.warp_row + coord.lane / 4;
    visible[0] = visible_keys(args, row);
    if constexpr (kRowsPerLane == 2) visible[1] = visible_keys(args, row + 8);
    all_visible = visible_keys(args, coord.first_row + coord.warp_row);
  }

  mbarrier_wait(smem.q_full, 0);
  int stage = 0;
  unsigned phase = 0;  // its parity, in which the stage is read
  for (int n_block = 0; n_block < (Traits::kIsOnline ? coord.n_blocks : 1); ++n_block) {
    const int first_key = coord.first_key(coord.split, n_block);
    if (!Traits::kMayPassEnd || first_key < coord.key_end) {
      const SmemDescriptor tile_k = make_smem_descriptor(smem.k(coord.block_split, stage), Traits::kKvPanelBytes);
      const SmemDescriptor tile_v = advance(tile_k, Traits::kKBytes);
      const QOperand<Traits> q(smem, coord);
      float acc_s[kParts][Traits::kTilesN][4];

      const auto multiply_qk = [&](auto part) {
        mbarrier_wait(smem.k_full(coord.block_split, stage, part.value), phase);
        gemm_qk(acc_s[part.value], q, tile_k, part.value);
      };
      const auto load_terms = [&](auto part) {
        if constexpr (kReadsScoreTerms<Traits>) terms.load(args.problem, first_key + part.value * kPartKeys);
      };
      const auto change = [&](auto part) {
        const int part_key = first_key + part.value * kPartKeys;
        if constexpr (kHasScoreTerms<Traits>) terms.change(acc_s[part.value], args.problem, part_key);
        if constexpr (Traits::kIsBanded) mask_before<Traits>(acc_s[part.value], args, coord, part_key);
      };
      const auto mask = [&](auto part) {
        const int part_key = first_key + part.value * kPartKeys;
        if constexpr (!Traits::kIsExactN) {
          if (first_key + (part.value + 1) * kPartKeys > all_visible) apply_mask(acc_s[part.value], visible, part_key);
        }
      };
      const auto multiply_pv = [&](auto part) {
        convert_p<Traits>(p[part.value], acc_s[part.value]);
        if constexpr (part.value == 0) mbarrier_wait(smem.v_full(coord.block_split, stage), phase);
        gemm_pv<Traits>(acc_o, p[part.value], tile_v, part.value);
      };

      if constexpr (kParts == 1) {
        mbarrier_wait(smem.k_full(coord.block_split, stage), phase);
        gemm_qk(acc_s[0], q, tile_k, 0);
        load_terms(Int<0>());
        warpgroup_wait<0>();
        warpgroup_fence_operand(acc_s[0]);
        change(Int<0>());
        if constexpr (!Traits::kIsExactN) {
          if (first_key + kPartKeys > all_visible) apply_mask(acc_s[0], visible, first_key);
        }
        if constexpr (Traits::kIsOnline) {
          float scores_scale[kRowsPerLane];
          if (softmax.max_get_scale(scores_scale, acc_s[0], softmax_scale_log2)) softmax.rescale_o(acc_o, scores_scale);
          softmax.scale_apply_exp2(acc_s[0], softmax_scale_log2);
        } else {
          softmax.softmax(acc_s[0], softmax_scale_log2);
        }
        convert_p<Traits>(p[0], acc_s[0]);
        mbarrier_wait(smem.v_full(coord.block_split, stage), phase);
        gemm_pv<Traits>(acc_o, p[0], tile_v, 0);
      } else if constexpr (Traits::kIsRunningMax) {
        // S of the next part and P V of the part before are in flight while a part's probabilities are computed.
        multiply_qk(Int<0>());
        static_for<kParts>([&](auto part) {
          constexpr bool kIsFirst = part.value == 0, kIsLast = part.value + 1 == kParts;
          if constexpr (!kIsLast) multiply_qk(Int<part.value + 1>());
          load_terms(part);
          warpgroup_wait<!kIsFirst + !kIsLast>();
          warpgroup_fence_operand(acc_s[part.value]);
          if constexpr (part.value > 1) warpgroup_fence_operand(p[part.value - 2]);
          change(part);
          mask(part);
          float part_max[kRowsPerLane];
          softmax.reduce_max(part_max, acc_s[part.value]);
          if constexpr (kIsFirst && !Traits::kIsOnline) {
            softmax.measure_from(part_max, softmax_scale_log2);
          } else {
            float scores_scale[kRowsPerLane];
            if (softmax.update_max(scores_scale, part_max, softmax_scale_log2)) {
              if constexpr (!kIsFirst) warpgroup_wait<0>();
              warpgroup_fence_operand(acc_o);
              softmax.rescale_o(acc_o, scores_scale);
            }
          }
          softmax.scale_apply_exp2(acc_s[part.value], softmax_scale_log2);
          multiply_pv(part);
        });
      } else {
        // S of the next part is in flight while the maximum of a part is taken.
        float step_max[kRowsPerLane];
#pragma unroll
        for (int half = 0; half < kRowsPerLane; ++half) step_max[half] = kNoMaximum;
        multiply_qk(Int<0>());
        static_for<kParts>([&](auto part) {
          constexpr bool kIsLast = part.value + 1 == kParts;
          if constexpr (!kIsLast) multiply_qk(Int<part.value + 1>());
          load_terms(part);
          warpgroup_wait<!kIsLast>();
          warpgroup_fence_operand(acc_s[part.value]);
          change(part);
          mask(part);
          softmax.lane_max(step_max, acc_s[part.value]);
        });
#pragma unroll
        for (int half = 0; half < kRowsPerLane; ++half) step_max[half] = warp_reduce_max<4>(step_max[half]);
        if constexpr (Traits::kIsOnline) {
          float scores_scale[kRowsPerLane];
          if (softmax.update_max(scores_scale, step_max, softmax_scale_log2)) softmax.rescale_o(acc_o, scores_scale);
        } else {
          softmax.measure_from(step_max, softmax_scale_log2);
        }
        static_for<kParts>([&](auto part) {
          softmax.scale_apply_exp2(acc_s[part.value], softmax_scale_log2);
          multiply_pv(part);
        });
      }
      if constexpr (Traits::kIsOnline) wait_o<Traits>(acc_o, p);
    }
    if constexpr (Traits::kIsOnline) {
      named_barrier_sync<32 * Traits::kSplitWarps>(1 + coord.block_split);  // all warps have read the stage
      if (coord.warp % Traits::kSplitWarps == 0 && elect_one()) producer.reload(coord.block_split, n_block, stage);
      if (++stage == Traits::kStages) {
        stage = 0;
        phase ^= 1;
      }
    }
  }

  // The sums are known before the last products.
#pragma unroll
  for (int half = 0; half < kRowsPerLane; ++half) softmax.row_sum[half] = warp_reduce_sum<4>(softmax.row_sum[half]);
  epilogue<Traits>(smem, coord, out, acc_o, softmax, p);
}

}  // namespace evoflash::split
#endif
