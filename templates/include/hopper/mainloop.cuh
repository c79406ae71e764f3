#pragma once

#include "hopper/epilogue.cuh"
#include "hopper/gemm.cuh"
#include "hopper/producer.cuh"
#include "hopper/storage.cuh"
#include "hopper/tile_coord.cuh"
#include "hopper/tile_scheduler.cuh"
#include "mask.cuh"
#include "named_barrier.cuh"
#include "score_tile.cuh"
#include "softmax.cuh"

// What a warpgroup computes.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

template <class Traits>
struct Consumer {
  static constexpr int kBlockN = Traits::kBlockN;
  using OnlineSoftmax = Softmax<2, Traits::kRescaleThreshold, Traits::kPolynomialShare>;
  using State = PipelineState<Traits::kStages>;
  using Accumulators = float[Traits::kTilesN][4];  // of S

  const SharedStorage<Traits> smem;
  const Arguments<Traits> &args;
  int warpgroup, rank;
  float softmax_scale_log2;

  __device__ __forceinline__ Consumer(const SharedStorage<Traits> &smem, const Arguments<Traits> &args, int warpgroup,
                                      int rank)
      : smem(smem), args(args), warpgroup(warpgroup), rank(rank), softmax_scale_log2(args.softmax_scale_log2) {}

  // The order of warpgroups at the tensor cores, so that the products of one run while the others compute exponentials
  // (ping-pong). Each waits at a barrier of its own, at which the one before it arrives.
  __device__ __forceinline__ void warp_scheduler_barrier_sync() const {
    if constexpr (Traits::kIsPingPong) named_barrier_sync<256>(1 + warpgroup);
  }
  __device__ __forceinline__ void warp_scheduler_barrier_arrive() const {
    if constexpr (Traits::kIsPingPong)
      named_barrier_arrive<256>(1 + (warpgroup + 1 == Traits::kNumWarpgroups ? 0 : warpgroup + 1));
  }

  // A warp has read a stage. In a cluster, each block that loads a part of it has to know.
  __device__ __forceinline__ static void release(unsigned empty) {
    if constexpr (Traits::kIsCluster) {
      if (threadIdx.x % 32 < Traits::kCluster) mbarrier_arrive_remote(empty, threadIdx.x % 32);
    } else {
      if (threadIdx.x % 32 == 0) mbarrier_arrive(empty);
    }
  }

  __device__ __forceinline__ void wait_q(int n) const {
    mbarrier_wait(smem.q_full(smem.q_number(warpgroup, n)), smem.q_phase(n));
  }
  __device__ __forceinline__ void wait_k(const State &state) const {
    mbarrier_wait(smem.k_full(state.index), state.phase);
  }
  __device__ __forceinline__ void wait_v(const State &state) const {
    mbarrier_wait(smem.v_full(state.index), state.phase);
  }

  __device__ __forceinline__ SmemDescriptor q_descriptor(int n) const {
    return make_smem_descriptor(smem.q(smem.q_number(warpgroup, n)), kNoPanelStride);
  }

  // Applies the mask to a step's scores, unless all rows of the warp see all its keys.
  __device__ __forceinline__ static void mask(Accumulators &acc_s, const int (&visible)[2], int all_visible,
                                              const TileCoord<Traits> &own, int n_block) {
    if (own.first_key + (n_block + 1) * kBlockN > all_visible)
      apply_mask(acc_s, visible, own.first_key + n_block * kBlockN);
  }

  // Hides the keys before a band, which are few steps' and so are computed anew.
  __device__ __forceinline__ void mask_before(Accumulators &acc_s, const TileCoord<Traits> &own, int n_block) const {
    const int key = own.first_key + n_block * kBlockN, warp_row = own.first_row + threadIdx.x % 128 / 32 * 16;
    if (key < first_key<Traits>(args.problem, warp_row + 15)) {
      const int row = warp_row + threadIdx.x % 32 / 4;
      const int first[2] = {first_key<Traits>(args.problem, row), first_key<Traits>(args.problem, row + 8)};
      hide_keys_before(acc_s, first, key);
    }
  }

  // Makes a step's products scores.
  template <class Terms>
  __device__ __forceinline__ void change(Accumulators &acc_s, const Terms &terms, const TileCoord<Traits> &own,
                                         int n_block) const {
    if constexpr (kHasScoreTerms<Traits>) terms.change(acc_s, args.problem, own.first_key + n_block * kBlockN);
    if constexpr (Traits::kIsBanded) mask_before(acc_s, own, n_block);
  }

  // Loads what scoring a step takes, while its products are in flight.
  template <class Terms>
  __device__ __forceinline__ void load_terms(Terms &terms, const TileCoord<Traits> &own, int n_block) const {
    if constexpr (kReadsScoreTerms<Traits>) terms.load(args.problem, own.first_key + n_block * kBlockN);
  }

  // A sink is one more key, with a value of 0, that the first split has seen before all others.
  __device__ __forceinline__ void add_sink(OnlineSoftmax &softmax, const TileCoord<Traits> &own) const {
    if constexpr (Traits::kIsSplitKv) {
      if (own.split != 0) return;
    }
    const float logit = args.problem.sinks[own.bidh];
    softmax.begin_with_sink(kHasFullScores<Traits> ? logit : logit / args.problem.scale, softmax_scale_log2);
  }

  // Computes the tile that is the block's n-th. With kIsTileOverlap, S of its first step is in flight when it begins; S
  // of the next tile, which is returned, is when it ends.
  __device__ __forceinline__ int compute(Accumulators &acc_s, POperand<Traits> &p, State &k_state, State &v_state,
                                         int tile, int n) {
    const TileCoord<Traits> coord = make_tile_coord(args, tile);
    const TileCoord<Traits> own = coord_of_warpgroup(coord, warpgroup, rank);
    if constexpr (Traits::kHasIdleWarpgroups) {
      if (is_idle(args, own)) {
        pass_tile(coord, k_state, v_state, n);
        return 0;
      }
    }
    const int n_blocks = n_blocks_before(args, own, own.first_row + Traits::kWarpgroupM);

    // The lane's rows, and how many keys all rows of the warp see: up to these no step needs the mask.
    const int row = own.first_row + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
    const int visible[2] = {visible_keys(args, row), visible_keys(args, row + 8)};
    const int all_visible = visible_keys(args, own.first_row + threadIdx.x % 128 / 32 * 16);
    auto terms = make_score_tile<Traits, Traits::kTilesN, 2>(args, own.bidb, own.bidh, row);

    const InlineProducer<Traits> loads(smem, args, coord, n_blocks);
    OnlineSoftmax softmax;
    if constexpr (Traits::kHasSinks) add_sink(softmax, own);
    float acc_o[Traits::kTilesValue][4] = {};
    const SmemDescriptor q = q_descriptor(n);
    int next_tile = 0;

    int first_block = 0;
    if constexpr (Traits::kIsBanded && Traits::kTileM > Traits::kWarpgroupM) {
      first_block = n_blocks_hidden(args, own, own.first_row, n_blocks);  // which only earlier rows see
      for (int n_block = 0; n_block < first_block; ++n_block) skip_step(k_state, v_state);
    }

    if constexpr (!Traits::kIsTileOverlap) wait_q(n);
    if constexpr (Traits::kIsStepOverlap) {
      if constexpr (!Traits::kIsTileOverlap) {
        wait_k(k_state);
        warp_scheduler_barrier_sync();
        gemm_qk<Traits>(acc_s, q, smem.k(k_state.index));
        warp_scheduler_barrier_arrive();
      }
      if constexpr (Traits::kIsLateRelease) release_q_before(n);
      load_terms(terms, own, first_block);
      warpgroup_wait<0>();
      warpgroup_fence_operand(acc_s);
      release(smem.k_empty(k_state.index));
      loads.reload_k(0, k_state);
      ++k_state;
      change(acc_s, terms, own, first_block);
      mask(acc_s, visible, all_visible, own, first_block);
      softmax.online_softmax(acc_s, acc_o, softmax_scale_log2, !Traits::kHasSinks);
      p.store(acc_s);

      for (int n_block = first_block + 1; n_block < n_blocks; ++n_block) {
        wait_k(k_state);
        warp_scheduler_barrier_sync();
        gemm_qk<Traits>(acc_s, q, smem.k(k_state.index));
        wait_v(v_state);
        if constexpr (Traits::kHandover > 0) {
          gemm_pv<Traits>(acc_o, p, smem.v(v_state.index), [&](int k) {
            if (k == Traits::kKeySteps - Traits::kHandover) warp_scheduler_barrier_arrive();
          });
        } else {
          gemm_pv<Traits>(acc_o, p, smem.v(v_state.index));
          warp_scheduler_barrier_arrive();
        }
        load_terms(terms, own, n_block);
        warpgroup_wait<1>();
        warpgroup_fence_operand(acc_s);
        release(smem.k_empty(k_state.index));
        loads.reload_k(n_block, k_state);
        ++k_state;
        change(acc_s, terms, own, n_block);
        mask(acc_s, visible, all_visible, own, n_block);
        float scores_scale[2];
        const bool is_raised = softmax.max_get_scale(scores_scale, acc_s, softmax_scale_log2);
        softmax.scale_apply_exp2(acc_s, softmax_scale_log2);
        if constexpr (Traits::kIsLateWait) {
          warpgroup_wait_behind<0>(softmax.row_sum[0] + softmax.row_sum[1], smem.address);
        } else {
          warpgroup_wait<0>();
        }
        warpgroup_fence_operand(acc_o);
        p.fence();
        release(smem.v_empty(v_state.index));
        loads.reload_v(n_block - 1, v_state);
        ++v_state;
        if (is_raised) softmax.rescale_o(acc_o, scores_scale);
        p.store(acc_s);
      }

      if constexpr (Traits::kIsTileOverlap) next_tile = consumer_tile(smem, n + 1);
      wait_v(v_state);
      if constexpr (Traits::kIsTileOverlap) {
        if (next_tile < args.num_tiles) {
          wait_q(n + 1);
          wait_k(k_state);
        }
        warp_scheduler_barrier_sync();
      }
      gemm_pv<Traits>(acc_o, p, smem.v(v_state.index));
      if constexpr (Traits::kIsTileOverlap) {
        // After the last tile this multiplies whatever is there, and nobody reads it: one path costs less than two.
        gemm_qk<Traits>(acc_s, q_descriptor(n + 1), smem.k(k_state.index));
        warp_scheduler_barrier_arrive();
      }
      warpgroup_wait<Traits::kIsTileOverlap>();
      warpgroup_fence_operand(acc_o);
      p.fence();
      release(smem.v_empty(v_state.index));
      ++v_state;
    } else {
      for (int n_block = first_block; n_block < n_blocks; ++n_block) {
        wait_k(k_state);
        gemm_qk<Traits>(acc_s, q, smem.k(k_state.index));
        if constexpr (Traits::kIsLateRelease) {
          if (n_block == first_block) release_q_before(n);
        }
        load_terms(terms, own, n_block);
        warpgroup_wait<0>();
        warpgroup_fence_operand(acc_s);
        release(smem.k_empty(k_state.index));
        loads.reload_k(n_block, k_state);
        ++k_state;
        change(acc_s, terms, own, n_block);
        mask(acc_s, visible, all_visible, own, n_block);
        softmax.online_softmax(acc_s, acc_o, softmax_scale_log2, !Traits::kHasSinks && n_block == first_block);
        p.store(acc_s);
        wait_v(v_state);
        gemm_pv<Traits>(acc_o, p, smem.v(v_state.index));
        warpgroup_wait<0>();
        warpgroup_fence_operand(acc_o);
        p.fence();
        release(smem.v_empty(v_state.index));
        loads.reload_v(n_block, v_state);
        ++v_state;
      }
    }
    skip_steps(coord, k_state, v_state, n_blocks);

    // The memory of Q is released: if the output passes through it, when the output has been stored.
    constexpr bool kReleases = Traits::kIsPersistent && !Traits::kIsLateRelease;
    const int q_number = smem.q_number(warpgroup, n);
    if constexpr (Traits::kSplitsRest) {
      if (own.first_partial >= 0) {
        if constexpr (Traits::kIsTmaStore) warpgroup_sync();  // one lane releases Q, which all warps have read
        if constexpr (kReleases) release_q(q_number);
        store_partial(args, own, acc_o, softmax);
        return next_tile;
      }
    }
    if constexpr (Traits::kIsSplitKv && !Traits::kSplitsRest) {
      if constexpr (kReleases) release_q(q_number);
      store_partial(args, own, acc_o, softmax);
    } else if constexpr (Traits::kIsTmaStore) {
      constexpr bool kMayBeBlind = kHasBlindRows<Traits>;
      const float inverse[2] = {inverse_total<kMayBeBlind>(warp_reduce_sum<4>(softmax.row_sum[0])),
                                inverse_total<kMayBeBlind>(warp_reduce_sum<4>(softmax.row_sum[1]))};
      store_by_tma(args, smem.o_pointer(q_number), warpgroup, own, acc_o, inverse);
      if constexpr (kReleases) release_q(q_number);
    } else {
      if constexpr (kReleases) release_q(q_number);
      store_from_registers(args, own, acc_o, softmax);
    }
    return next_tile;
  }

  // Releases a step of which this warpgroup's rows see no key. It is waited for first, so that no phase is missed.
  __device__ __forceinline__ void skip_step(State &k_state, State &v_state) {
    wait_k(k_state);
    warp_scheduler_barrier_sync();
    warp_scheduler_barrier_arrive();
    release(smem.k_empty(k_state.index));
    ++k_state;
    wait_v(v_state);
    release(smem.v_empty(v_state.index));
    ++v_state;
  }

  // Skips the tile's steps that only later rows see.
  __device__ __forceinline__ void skip_steps(const TileCoord<Traits> &coord, State &k_state, State &v_state,
                                             int n_blocks) {
    if constexpr ((Traits::kIsCausal || Traits::kIsBanded) && Traits::kTileM > Traits::kWarpgroupM)
      skip_steps_from(coord, k_state, v_state, n_blocks);
  }
  __device__ __forceinline__ void skip_steps_from(const TileCoord<Traits> &coord, State &k_state, State &v_state,
                                                  int n_block) {
    for (; n_block < n_blocks_before(args, coord, coord.first_row + Traits::kTileM); ++n_block)
      skip_step(k_state, v_state);
  }

  // Passes over a tile of which the warpgroup has no rows. Its Q is waited for, so that no phase is missed, by all who
  // wait for it in other tiles, before one of them releases it.
  __device__ __forceinline__ void pass_tile(const TileCoord<Traits> &coord, State &k_state, State &v_state, int n) {
    if constexpr (Traits::kIsLateRelease) release_q_before(n);
    wait_q(n);
    skip_steps_from(coord, k_state, v_state, 0);
    if constexpr (Traits::kIsPersistent) {
      if constexpr (Traits::kIsTmaStore) {
        warpgroup_sync();
      } else {
        __syncwarp();
      }
      if constexpr (!Traits::kIsLateRelease) release_q(smem.q_number(warpgroup, n));
    }
  }

  __device__ __forceinline__ void warpgroup_sync() const {
    named_barrier_sync<128>(1 + Traits::kNumWarpgroups + warpgroup);
  }

  // The memory of a tile's Q may be written.
  __device__ __forceinline__ void release_q(int q_number) const {
    constexpr int kArriving = Traits::kIsTmaStore ? 128 : 32;  // threads, of which one arrives
    if (threadIdx.x % kArriving == 0) mbarrier_arrive(smem.q_empty(q_number));
  }

  // With Q of two tiles in shared memory, that of the tile before the n-th, or the output in its place, is released
  // when the n-th has begun: the output has had time to leave.
  __device__ __forceinline__ void release_q_before(int n) const {
    if (n == 0) return;
    if constexpr (Traits::kIsTmaStore) {
      if (threadIdx.x % 128 == 0) tma_store_wait();
    }
    release_q(smem.q_number(warpgroup, n - 1));
  }

  __device__ __forceinline__ void run() {
    State k_state, v_state;
    POperand<Traits> p(smem, warpgroup);
    if (warpgroup == Traits::kNumWarpgroups - 1) warp_scheduler_barrier_arrive();  // the first one may start
    if constexpr (Traits::kIsTileOverlap) {
      Accumulators acc_s;
      wait_q(0);
      mbarrier_wait(smem.k_full(0), 0);
      warp_scheduler_barrier_sync();
      gemm_qk<Traits>(acc_s, q_descriptor(0), smem.k(0));
      warp_scheduler_barrier_arrive();
      for (int n = 0, tile = consumer_tile(smem, 0); tile < args.num_tiles; ++n)
        tile = compute(acc_s, p, k_state, v_state, tile, n);
      warpgroup_wait<0>();
    } else if constexpr (Traits::kIsPersistent) {
      for (int n = 0, tile; (tile = consumer_tile(smem, n)) < args.num_tiles; ++n) {
        Accumulators acc_s;
        compute(acc_s, p, k_state, v_state, tile, n);
      }
      if constexpr (Traits::kIsLateRelease && Traits::kIsTmaStore) {
        if (threadIdx.x % 128 == 0) tma_store_wait();  // shared memory must outlive the last store
      }
    } else {
      Accumulators acc_s;
      compute(acc_s, p, k_state, v_state, only_tile(args), 0);
    }
  }
};

}  // namespace evoflash::hopper
#endif
