#pragma once

#include "cp_async.cuh"
#include "mma/pipeline_state.cuh"
#include "mma/storage.cuh"
#include "mma/tile_coord.cuh"
#include "static_for.cuh"

// Loads of K and V where each slice's warps copy what they will read (cp.async).
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits>
struct CpAsyncProducer {
  using Tile = SmemTile<Traits::kHeadDim>;
  static constexpr int kChunks = Traits::kChunks, kStages = Traits::kStages;

  // More would hold addresses in registers that the accumulators need.
  static constexpr int kUnroll = Traits::kIsOnline ? 4 : 0;

  // Groups of copies of all stages but the first, where K and V are waited for apart.
  static constexpr int kGroupsOfLaterStages = 2 * kChunks * (kStages - 1);

  const Arguments<Traits> &args;
  const WarpCoord<Traits> &coord;
  const KeyRange<Traits> &keys;
  const SharedStorage<Traits> &storage;
  const int thread = threadIdx.x % Traits::kSliceThreads;

  // Copies kRows rows of the slice's K or V of a stage, from row `first` of the stage on; there is key `key`. Nothing is
  // read beyond the last key that the block sees.
  template <Operand kOperand, int kRows>
  __device__ __forceinline__ void copy(int stage, int first, int key) const {
    const Tensor &tensor = kOperand == Operand::kK ? args.k : args.v;
    copy_rows<Tile, kRows, Traits::kWarpN, Traits::kSliceThreads, kUnroll>(
        storage.template tile<kOperand>(coord.slice, stage) + first * Tile::kPanelRowBytes,
        row_of(tensor, coord.bidb, coord.bidh_kv, key), tensor.row, thread, Traits::kIsEvenN ? kRows : keys.end - key);
  }

  // Whether there is such a step. If not, groups of copies are empty, so that the waits' counts hold.
  __device__ __forceinline__ bool has_step(int n_block) const {
    return !Traits::kIsOnline || n_block < keys.n_block_max();
  }

  // Copies a step's K or V, a group for each chunk.
  template <Operand kOperand>
  __device__ __forceinline__ void copy_chunks(int n_block, int stage) const {
    static_for<kChunks>([&](auto chunk) {
      constexpr int kFirst = chunk.value * Traits::kChunkN;
      const int key = coord.first_key(coord.slice, n_block) + kFirst;
      if (has_step(n_block)) copy<kOperand, Traits::kChunkN>(stage, kFirst, key);
      cp_async_commit();
    });
  }

  // Copies K and V of a step as one group.
  __device__ __forceinline__ void copy_both(int n_block, int stage) const {
    const int key = coord.first_key(coord.slice, n_block);
    if (has_step(n_block)) {
      copy<Operand::kK, Traits::kWarpN>(stage, 0, key);
      copy<Operand::kV, Traits::kWarpN>(stage, 0, key);
    }
    cp_async_commit();
  }

  // Starts the copies of Q and of the first stages.
  __device__ __forceinline__ void prologue() const {
    copy_rows<Tile, Traits::kBlockM, Traits::kBlockM, Traits::kNumThreads, kUnroll>(
        storage.q(), row_of(args.q, coord.bidb, coord.bidh, coord.first_row), args.q.row, threadIdx.x,
        Traits::kIsEvenM ? Traits::kBlockM : args.seq_q - coord.first_row);
    cp_async_commit();
#pragma unroll
    for (int n_block = 0; n_block < kStages; ++n_block) {
      if constexpr (Traits::kWaitApart) {
        copy_chunks<Operand::kK>(n_block, n_block);
        if (!Traits::kLoadValuesLate || n_block + 1 < kStages) copy_chunks<Operand::kV>(n_block, n_block);
      } else {
        copy_both(n_block, n_block);
      }
    }
  }

  __device__ __forceinline__ void wait_q() const {
    if constexpr (Traits::kWaitApart) {
      cp_async_wait<kGroupsOfLaterStages + (Traits::kLoadValuesLate ? kChunks : 2 * kChunks)>();
    } else {
      cp_async_wait<kStages>();
    }
    __syncthreads();
  }

  // Waits for a chunk of K or V, together with the other warps of the slice. After this barrier all warps of the slice have read what came before, so the copies that
  // take its place start here.
  static constexpr bool kIsCollective = true;
  template <Operand kOperand, int kChunk>
  __device__ __forceinline__ void acquire(int n_block, PipelineState<Traits> state) const {
    if constexpr (Traits::kWaitApart) {
      if constexpr (kOperand == Operand::kK) {
        acquire_k<kChunk>(n_block, state.stage);
      } else {
        acquire_v<kChunk>(n_block, state.stage);
      }
    } else if constexpr (kOperand == Operand::kK) {
      acquire_both(n_block, state.stage);
    }
  }

  // Nothing is copied before the next barrier: see acquire().
  template <Operand kOperand>
  __device__ __forceinline__ void release(int, PipelineState<Traits>) const {}

 private:
  __device__ __forceinline__ static int stage_before(int stage) { return stage == 0 ? kStages - 1 : stage - 1; }

  // V of the step before is replaced.
  template <int kChunk>
  __device__ __forceinline__ void acquire_k(int n_block, int stage) const {
    const int last_stage = stage_before(stage);
    constexpr int kLaterChunks = kChunks - 1 - kChunk;
    if (kChunk > 0 || (!Traits::kLoadValuesLate && n_block == 0)) {
      cp_async_wait<kGroupsOfLaterStages + kChunks + kLaterChunks>();
      coord.sync_slice();
    } else {
      cp_async_wait<kGroupsOfLaterStages + kLaterChunks>();
      coord.sync_slice();
      copy_chunks<Operand::kV>(n_block - 1 + kStages, last_stage);
    }
  }

  // K of this step is replaced.
  template <int kChunk>
  __device__ __forceinline__ void acquire_v(int n_block, int stage) const {
    constexpr int kLaterChunks = kChunks - 1 - kChunk;
    if constexpr (Traits::kIsOnline) {
      cp_async_wait<kGroupsOfLaterStages + (kChunk == 0 ? 0 : kChunks) + kLaterChunks>();
      coord.sync_slice();
      if constexpr (kChunk == 0) copy_chunks<Operand::kK>(n_block + kStages, stage);
    } else {
      cp_async_wait<kLaterChunks>();
      coord.sync_slice();
    }
  }

  // K and V of the step before are replaced.
  __device__ __forceinline__ void acquire_both(int n_block, int stage) const {
    const int last_stage = stage_before(stage);
    if constexpr (kStages > 1) {
      if (n_block == 0) {
        cp_async_wait<kStages - 1>();
        coord.sync_slice();
      } else {
        cp_async_wait<kStages - 2>();
        coord.sync_slice();
        copy_both(n_block - 1 + kStages, last_stage);
      }
    } else {
      if (n_block > 0) {
        coord.sync_slice();
        copy_both(n_block, stage);
      }
      cp_async_wait<0>();
      coord.sync_slice();
    }
  }
};

}  // namespace evoflash::mma
#endif
