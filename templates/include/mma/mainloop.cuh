#pragma once

#include "mask.cuh"
#include "mma/fragments.cuh"
#include "mma/gemm.cuh"
#include "mma/storage.cuh"
#include "mma/tile_coord.cuh"
#include "score_tile.cuh"
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

  // All steps. In the end, the epilogue sends the rows' maxima and sums, if it has use for them.
  template <class QOperands, class Epilogue>
  __device__ __forceinline__ void run(Fragments<Traits> &fragments, const QOperands &q,
                                      const Epilogue &epilogue) const {
    int stage = 0;
    unsigned phase = 0;  // the parity for which the stage's barriers are waited for
    if constexpr (Traits::kIsOnline) {
      for (int n_block = 0; n_block < keys.n_block_max(); ++n_block) {
        step(fragments, q, n_block, stage, phase, epilogue);
        if constexpr (Traits::kStages == 1) {
          phase ^= 1;
        } else if constexpr (!Traits::kIsTma) {
          stage = stage + 1 == Traits::kStages ? 0 : stage + 1;
        } else {
          advance(stage, phase);
        }
      }
      epilogue.send_stats(fragments);
    } else {
      step(fragments, q, 0, stage, phase, epilogue);
    }
  }

 private:
  // The next stage of the ring; after the last one, barriers are waited for with the other parity.
  __device__ __forceinline__ static void advance(int &stage, unsigned &phase) {
    if (++stage == Traits::kStages) {
      stage = 0;
      phase ^= 1;
    }
  }

  // How a step takes a counter of the loop: where lambdas compute its chunks, by reference, as they capture it.
  template <class Int, bool kIsChunked = (Traits::kChunks > 1)>
  struct Counter {
    using Type = Int;
  };
  template <class Int>
  struct Counter<Int, true> {
    using Type = const Int &;
  };

  // P = softmax(Q K^T) over the warp's keys of a step, O += P V.
  template <class QOperands, class Epilogue>
  __device__ __forceinline__ void step(Fragments<Traits> &fragments, const QOperands &q,
                                       typename Counter<int>::Type n_block, typename Counter<int>::Type stage,
                                       typename Counter<unsigned>::Type phase, const Epilogue &epilogue) const {
    const int key = coord.first_key(coord.slice, n_block);
    const bool seen = !Traits::kMaySkip || key < keys.any_end;  // by a row of this warp
    if constexpr (Traits::kChunks == 1) {
      multiply_k<0>(fragments, q, n_block, stage, phase, seen);
    } else {
      static_for<Traits::kChunks>(
          [&](auto chunk) { multiply_k<chunk.value>(fragments, q, n_block, stage, phase, seen); });
    }
    producer.release_k(n_block, stage);
    if (seen) {
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) {
        if constexpr (kHasScoreTerms<Traits>) change(fragments.acc_s[m], m, key);
        mask(fragments, m, key);
        auto &acc_s = fragments.acc_s[m];
        if constexpr (Traits::kIsOnline) {
          // With a sink, there are sums before the first step.
          const bool is_first = !Traits::kHasSinks && n_block == 0;
          fragments.softmax[m].online_softmax(acc_s, fragments.acc_o[m], softmax_scale_log2, is_first);
        } else {
          fragments.softmax[m].softmax(acc_s, softmax_scale_log2);
        }
        convert_p<typename Traits::Element>(fragments.p[m], acc_s);
      }
    }
    // Before V is waited for: then the sums are out of the way.
    if constexpr (!Traits::kIsOnline) epilogue.send_stats(fragments);
    if constexpr (Traits::kChunks == 1) {
      multiply_v<0>(fragments, n_block, stage, phase, seen);
    } else {
      static_for<Traits::kChunks>([&](auto chunk) { multiply_v<chunk.value>(fragments, n_block, stage, phase, seen); });
    }
    producer.release_v(n_block, stage);
  }

  // S = Q K^T over a chunk of the keys, once it is there.
  template <int kChunk, class QOperands>
  __device__ __forceinline__ void multiply_k(Fragments<Traits> &fragments, const QOperands &q, int n_block, int stage,
                                             unsigned phase, bool seen) const {
    if constexpr (Producer::kIsCollective) producer.template acquire_k<kChunk>(n_block, stage, phase);
    if (seen) {
      if constexpr (!Producer::kIsCollective) producer.template acquire_k<kChunk>(n_block, stage, phase);
      gemm_qk<Traits, kChunk>(fragments.acc_s, q, storage.k(coord.slice, stage));
    }
  }

  // O += P V over a chunk of the keys, once it is there.
  template <int kChunk>
  __device__ __forceinline__ void multiply_v(Fragments<Traits> &fragments, int n_block, int stage, unsigned phase,
                                             bool seen) const {
    if constexpr (Producer::kIsCollective) producer.template acquire_v<kChunk>(n_block, stage, phase);
    if (seen) {
      if constexpr (!Producer::kIsCollective) producer.template acquire_v<kChunk>(n_block, stage, phase);
      gemm_pv<Traits, kChunk>(fragments.acc_o, fragments.p, storage.v(coord.slice, stage));
    }
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
    if constexpr (Traits::kIsBanded) {
      if (key < keys.all_begin) {
        const int row = coord.first_row + coord.row_of_lane(m, 0);
        const int first[2] = {first_key<Traits>(args.problem, row), first_key<Traits>(args.problem, row + 8)};
        hide_keys_before(fragments.acc_s[m], first, key);
      }
    }
  }

  // Turns products into scores.
  __device__ __forceinline__ void change(float (&acc_s)[Traits::kTilesN][4], int m, int key) const {
    ScoreTile<Traits, Traits::kTilesN, 2> tile(args.problem, coord.bidb, coord.bidh,
                                               coord.first_row + coord.row_of_lane(m, 0));
    tile.load(args.problem, key);
    tile.change(acc_s, args.problem, key);
  }
};

}  // namespace evoflash::mma
#endif
