#pragma once

#include "cp_async.cuh"
#include "mma/storage.cuh"
#include "mma/tile_coord.cuh"
#include "static_for.cuh"

// Loads of K and V by cp.async: the warps of a slice copy what they will read.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits>
struct CpAsyncProducer {
  template <Operand kOperand>
  using Tile = SmemTile<kOperand == Operand::kK ? Traits::kHeadDim : Traits::kValueDim>;
  static constexpr int kChunks = Traits::kChunks, kStages = Traits::kStages;

  // Copies in flight of an unrolled loop. More would hold addresses in registers that the accumulators need.
  static constexpr int kUnroll = Traits::kIsOnline ? 4 : 0;

  // Groups of copies of all stages but the first, where K and V are waited for apart.
  static constexpr int kGroupsOfLaterStages = 2 * kChunks * (kStages - 1);

  const Arguments<Traits> &args;
  const WarpCoord<Traits> &coord;
  const KeyRange<Traits> &keys;
  const SharedStorage<Traits> &storage;
  const int thread = threadIdx.x % Traits::kSliceThreads;

  // Copies K or V of a step, a group of copies for each chunk. Beyond the last step groups are empty, so that the
  // waits' counts hold. Not forced inline: the compiler simplifies it by itself, before it becomes part of the
  // mainloop.
  template <Operand kOperand>
  __device__ void copy(int n_block, int stage) const {
    if constexpr (kChunks == 1) {
      const int key = coord.first_key(coord.slice, n_block);
      if (has_step(n_block)) copy_keys<kOperand, Traits::kWarpN>(tile<kOperand>(stage), tensor<kOperand>(), key);
      cp_async_commit();
    } else {
#pragma unroll
      for (int chunk = 0; chunk < kChunks; ++chunk) {
        const int key = coord.first_key(coord.slice, n_block) + chunk * Traits::kChunkN;
        if (has_step(n_block))
          copy_keys<kOperand, Traits::kChunkN>(tile<kOperand>(stage) + chunk * kChunkBytes<kOperand>,
                                               tensor<kOperand>(), key);
        cp_async_commit();
      }
    }
  }

  // Copies both as one group.
  __device__ void copy_both(int n_block, int stage) const {
    const int key = coord.first_key(coord.slice, n_block);
    if (has_step(n_block)) {
      copy_keys<Operand::kK, Traits::kWarpN>(tile<Operand::kK>(stage), args.k, key);
      copy_keys<Operand::kV, Traits::kWarpN>(tile<Operand::kV>(stage), args.v, key);
    }
    cp_async_commit();
  }

  __device__ __forceinline__ void wait_q() const {
    if constexpr (Traits::kWaitApart) {
      cp_async_wait<kGroupsOfLaterStages + (Traits::kLoadValuesLate ? kChunks : 2 * kChunks)>();
    } else {
      cp_async_wait<kStages>();
    }
    __syncthreads();
  }

  // Waits for a chunk of K or V, together with the other warps of the slice. After that barrier, all of them have read
  // what came before, so the copies that take its place start here.
  static constexpr bool kIsCollective = true;

  // V (or both) of the step before is replaced.
  template <int kChunk>
  __device__ __forceinline__ void acquire_k(int n_block, int stage, unsigned) const {
    if constexpr (Traits::kWaitApart) {
      acquire_k_alone<kChunk>(n_block, stage);
    } else {
      acquire_both(n_block, stage);
    }
  }

  // K of this step is replaced.
  template <int kChunk>
  __device__ __forceinline__ void acquire_v(int n_block, int stage, unsigned) const {
    if constexpr (!Traits::kWaitApart) return;
    constexpr int kLaterChunks = kChunks - 1 - kChunk;
    if constexpr (Traits::kIsOnline) {
      cp_async_wait<kGroupsOfLaterStages + (kChunk == 0 ? 0 : kChunks) + kLaterChunks>();
      coord.sync_slice();
      if constexpr (kChunk == 0) copy<Operand::kK>(n_block + kStages, stage);
    } else {
      cp_async_wait<kLaterChunks>();
      coord.sync_slice();
    }
  }

  // Nothing is copied before the next barrier.
  __device__ __forceinline__ void release_k(int, int) const {}
  __device__ __forceinline__ void release_v(int, int) const {}

 private:
  template <Operand kOperand>
  static constexpr int kChunkBytes = Traits::kChunkN * Tile<kOperand>::kPanelRowBytes;

  __device__ __forceinline__ bool has_step(int n_block) const {
    return !Traits::kIsOnline || n_block < keys.n_block_max();
  }

  template <Operand kOperand>
  __device__ __forceinline__ unsigned char *tile(int stage) const {
    if constexpr (kOperand == Operand::kK) {
      return storage.k(coord.slice, stage);
    } else {
      return storage.v(coord.slice, stage);
    }
  }
  template <Operand kOperand>
  __device__ __forceinline__ const Tensor &tensor() const {
    return kOperand == Operand::kK ? args.k : args.v;
  }

  // Copies rows of the slice from `key` on. Nothing is read beyond the last key that the block sees.
  template <Operand kOperand, int kRows>
  __device__ __forceinline__ void copy_keys(unsigned char *to, const Tensor &tensor, int key) const {
    copy_rows<Tile<kOperand>, kRows, Traits::kWarpN, Traits::kSliceThreads, kUnroll>(
        to, row_of(tensor, coord.bidb, coord.bidh_kv, key), tensor.row, thread,
        Traits::kIsEvenN ? kRows : keys.end - key);
  }

  __device__ __forceinline__ static int stage_before(int stage) { return stage == 0 ? kStages - 1 : stage - 1; }

  template <int kChunk>
  __device__ __forceinline__ void acquire_k_alone(int n_block, int stage) const {
    constexpr int kLaterChunks = kChunks - 1 - kChunk;
    if constexpr (kChunk > 0 || (!Traits::kLoadValuesLate && !Traits::kIsOnline)) {
      cp_async_wait<kGroupsOfLaterStages + kChunks + kLaterChunks>();
      coord.sync_slice();
    } else {
      if constexpr (!Traits::kLoadValuesLate) {
        if (n_block == 0) {
          cp_async_wait<kGroupsOfLaterStages + kChunks + kLaterChunks>();
          coord.sync_slice();
          return;
        }
      }
      cp_async_wait<kGroupsOfLaterStages + kLaterChunks>();
      coord.sync_slice();
      copy<Operand::kV>(n_block - 1 + kStages, stage_before(stage));
    }
  }

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
      if constexpr (Traits::kIsOnline) {
        if (n_block > 0) {
          coord.sync_slice();
          copy_both(n_block, stage);
        }
      }
      cp_async_wait<0>();
      coord.sync_slice();
    }
  }
};

}  // namespace evoflash::mma
#endif
