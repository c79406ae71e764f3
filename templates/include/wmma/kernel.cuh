#pragma once

// See fragments.cuh.
namespace evoflash::wmma {}

#include "cp_async.cuh"
#include "math.cuh"
#include "problem.cuh"
#include "wmma/epilogue.cuh"
#include "wmma/fragments.cuh"
#include "wmma/gemm.cuh"
#include "wmma/kernel_traits.cuh"
#include "wmma/layout.cuh"
#include "wmma/producer.cuh"
#include "wmma/softmax_fragments.cuh"
#include "wmma/softmax_shared.cuh"
#include "wmma/softmax_state.cuh"
#include "wmma/storage.cuh"

// The kernel's body: a block computes one tile of rows of one head.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

template <class Traits>
__device__ __forceinline__ void compute_tile(const AttentionProblem &problem, unsigned char *smem) {
  using Element = Operand<Traits>;
  constexpr int kBlockM = Traits::kBlockM, kBlockN = Traits::kBlockN, kStages = Traits::kStages;
  constexpr bool kIsAsync = Traits::kIsAsync;
  constexpr Pipeline kPipeline = Traits::kPipeline;
  static_assert(sizeof(SharedStorage<Traits>) == Traits::kSmemBytes, "the search space computes what the kernel takes");
  SharedStorage<Traits> &storage = *reinterpret_cast<SharedStorage<Traits> *>(smem);
  Tiles<Traits> &tiles = storage.tiles;

  // The last rows see the most keys. If they go first, the grid has the heads along x and the tiles along y.
  const int bidh = Traits::kLongestFirst ? blockIdx.x : blockIdx.y, bidb = blockIdx.z;
  const int m_block = Traits::kLongestFirst ? gridDim.y - 1 - blockIdx.y : blockIdx.x;
  const int kv_head = kv_head_of(problem, bidh);
  const int warp = threadIdx.x / 32, warp_m = warp % Traits::kWarpsM, slice = warp / Traits::kWarpsM;
  const int first_row = m_block * kBlockM, warp_row = warp_m * Traits::kWarpM;

  const Element *q = rows_of(static_cast<const Element *>(problem.q), problem.q_stride, bidb, bidh);
  const Element *k = rows_of(static_cast<const Element *>(problem.k), problem.k_stride, bidb, kv_head);
  const Element *v = rows_of(static_cast<const Element *>(problem.v), problem.v_stride, bidb, kv_head);

  // Steps that no row of the block sees may be left out.
  const int key_end =
      Traits::kSkipsUnseen ? visible_keys<Traits::kIsCausal>(problem, first_row + kBlockM - 1) : problem.seq_kv;
  const int num_steps = (key_end + kBlockN - 1) / kBlockN;
  const int seen_by_all = visible_keys<Traits::kIsCausal>(problem, first_row + warp_row);  // of the warp's rows
  const int seen_by_any = visible_keys<Traits::kIsCausal>(problem, first_row + warp_row + Traits::kWarpM - 1);
  const float softmax_scale_log2 = problem.scale * kLog2E;

  // Loads of K and V, by the thread's team.
  const int thread = Traits::kIsTeamBlock ? threadIdx.x : threadIdx.x % Traits::kTeamThreads;
  const int team_key = Traits::kIsTeamBlock ? 0 : slice * Traits::kWarpN;  // within the step
  const auto load_k = [&](int step, int stage) {
    copy_rows<Traits, Traits::kTeamKeys, Traits::kTeamThreads>(&tiles.k[stage][team_key], k, problem.k_stride[2],
                                                               step * kBlockN + team_key, problem.seq_kv, thread);
  };
  const auto load_v = [&](int step, int stage) {
    copy_rows<Traits, Traits::kTeamKeys, Traits::kTeamThreads>(&tiles.v[stage][team_key], v, problem.v_stride[2],
                                                               step * kBlockN + team_key, problem.seq_kv, thread);
  };
  // Asynchronous loads, in groups of K and V together or apart. Waits count groups, so there are empty ones beyond the
  // last step.
  const auto load_k_group = [&](int step, int stage) {
    if (step < num_steps) load_k(step, stage);
    cp_async_commit();
  };
  const auto load_v_group = [&](int step, int stage) {
    if (step < num_steps) load_v(step, stage);
    cp_async_commit();
  };
  const auto load_kv_group = [&](int step, int stage) {
    if (step < num_steps) {
      load_k(step, stage);
      load_v(step, stage);
    }
    cp_async_commit();
  };

  // Prologue.
  copy_rows<Traits, kBlockM, Traits::kNumThreads>(tiles.q, q, problem.q_stride[2], first_row, problem.seq_q,
                                                  threadIdx.x);
  if constexpr (kIsAsync) {
    cp_async_commit();
    if constexpr (kPipeline == Pipeline::kSplit) {
#pragma unroll
      for (int step = 0; step < kStages; ++step) {
        load_k_group(step, step);
        load_v_group(step, step);
      }
    } else {
#pragma unroll
      for (int step = 0; step < Traits::kPrologueGroups; ++step) load_kv_group(step, step);
    }
  }

  // While the loads are in flight.
  SoftmaxState<Traits> state;
  state.init();
  if constexpr (Traits::kIsSoftmaxInFragments) {
    write_layout(tiles);
  } else {
    find_rows<Traits>(state.element_row, tiles.s[warp]);
  }
  if constexpr (kIsAsync) cp_async_wait<Traits::kPrologueGroups>();  // Q
  __syncthreads();
  if constexpr (Traits::kIsSoftmaxInFragments) check_layout(tiles);

  // What stays from step to step: Q, or where it lies; where P lies.
  QOperand<Traits> q_operand;
  if constexpr (Traits::kIsQInRegs) {
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int d = 0; d < Traits::kTilesHead; ++d)
        load_matrix_sync(q_operand[m][d], &tiles.q[warp_row + m * 16][d * 16], Traits::kPitch);
  } else {
    q_operand = &tiles.q[warp_row];
  }
  Element(*p)[Traits::kPitchP] = nullptr;
  if constexpr (Traits::kProbabilitiesIn == ProbabilitiesIn::kInPlace) {
    p = reinterpret_cast<Element(*)[Traits::kPitchP]>(tiles.s[warp]);
  } else if constexpr (Traits::kProbabilitiesIn == ProbabilitiesIn::kApart) {
    p = tiles.p[warp];
  }

  // Mainloop.
  int stage = 0;
  for (int step = 0; step < num_steps; ++step) {
    if constexpr (!kIsAsync) {
      load_k(step, stage);
      load_v(step, stage);
      team_sync<Traits>(slice);
    } else if constexpr (kPipeline == Pipeline::kSplit) {
      if (step == 0) {
        cp_async_wait<Traits::kPrologueGroups - 1>();
        team_sync<Traits>(slice);
      } else {
        cp_async_wait<Traits::kPrologueGroups - 2>();
        team_sync<Traits>(slice);
        // All of the team have read V of the step before.
        load_v_group(step - 1 + kStages, stage == 0 ? kStages - 1 : stage - 1);
      }
    } else {
      cp_async_wait<Traits::kPrologueGroups - 1>();
      team_sync<Traits>(slice);
      // All of the team have read the step before.
      if constexpr (kPipeline == Pipeline::kEarly)
        load_kv_group(step - 1 + kStages, stage == 0 ? kStages - 1 : stage - 1);
    }

    const int key = step * kBlockN + slice * Traits::kWarpN;
    Scores<Traits> acc_s;
    const auto compute_p = [&] {
      gemm_qk<Traits>(acc_s, q_operand, &tiles.k[stage][slice * Traits::kWarpN]);
      if constexpr (Traits::kIsSoftmaxInFragments) {
        if (key + Traits::kWarpN > seen_by_all) apply_mask<Traits>(acc_s, problem, first_row + warp_row, key);
        online_softmax<Traits>(acc_s, state, softmax_scale_log2);
        if constexpr (!Traits::kIsPInRegs) write_p<Traits>(p, acc_s);
      } else {
        online_softmax<Traits>(acc_s, state, tiles.s[warp], p, tiles.scores_scale[warp], problem, first_row + warp_row,
                               key, key + Traits::kWarpN > seen_by_all, softmax_scale_log2);
      }
    };
    // A warp may have nothing to do in a step; it takes part in the barriers nevertheless.
    const bool seen = !Traits::kIsCausal || key < seen_by_any;
    if (seen) compute_p();
    if constexpr (kIsAsync && kPipeline == Pipeline::kSplit) {
      cp_async_wait<Traits::kPrologueGroups - 2>();  // V
      team_sync<Traits>(slice);
      load_k_group(step + kStages, stage);  // all of the team have read K
    }
    if (seen) {
      const auto *v_tile = &tiles.v[stage][slice * Traits::kWarpN];
      if constexpr (Traits::kIsPInRegs) {
        gemm_pv<Traits>(state.acc_o, acc_s, v_tile);
      } else {
        gemm_pv<Traits>(state.acc_o, p, v_tile);
      }
    }

    if constexpr (!kIsAsync) {
      team_sync<Traits>(slice);  // the tiles have been read
    } else if constexpr (kPipeline == Pipeline::kLate) {
      if (step + kStages < num_steps) team_sync<Traits>(slice);  // all of the team have read the stage
      load_kv_group(step + kStages, stage);
    }
    stage = stage + 1 == kStages ? 0 : stage + 1;
  }

  // Epilogue. The tiles have been read: partial outputs take their place.
  __syncthreads();
  write_partials(storage.partials, state, warp_row, slice);
  __syncthreads();
  Element *out =
      rows_of(static_cast<Element *>(problem.out), problem.out_stride, bidb, bidh) + first_row * problem.out_stride[2];
  merge_partials(storage.partials, out, problem.out_stride[2], problem.seq_q - first_row, softmax_scale_log2);
}

}  // namespace evoflash::wmma
#endif
