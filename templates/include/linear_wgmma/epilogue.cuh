#pragma once

#include "elect.cuh"
#include "linear/epilogue.cuh"
#include "linear_wgmma/arguments.cuh"
#include "linear_wgmma/storage.cuh"
#include "linear_wgmma/tile_scheduler.cuh"
#include "mma_sync.cuh"
#include "named_barrier.cuh"
#include "pairs.cuh"
#include "tma_matrix.cuh"
#include "warp.cuh"

// From a warpgroup's accumulators to the output. A chunk of the residual arrives in a buffer; the output takes its
// place there, and TMA stores it.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_wgmma {

constexpr int kFirstEpilogueBarrier = 8;  // of the named barriers; one for each warpgroup

template <class Traits>
struct Epilogue {
  using Element = typename Traits::Element;

  const SharedStorage<Traits> &smem;
  const Arguments &args;
  int warpgroup;
  unsigned uses = 0;  // of each buffer so far

  __device__ __forceinline__ Epilogue(const SharedStorage<Traits> &smem, const Arguments &args, int warpgroup)
      : smem(smem), args(args), warpgroup(warpgroup) {}

  // True for the one thread of the warpgroup that loads and stores, always the same. All its warps call it.
  __device__ __forceinline__ static bool is_copying() {
    return __shfl_sync(kAllLanes, threadIdx.x / 32 % 4, 0) == 0 && elect_one();
  }

  // Chunks go from top to bottom, then from left to right.
  __device__ __forceinline__ static MatrixCoord coord_of(const Unit &unit, int chunk) {
    return {unit.column + chunk / Traits::kRowBlocks * MatrixPanel::kColumns,
            unit.row + chunk % Traits::kRowBlocks * 64};
  }

  __device__ __forceinline__ void load_chunk(const Unit &unit, int chunk) const {
    const int buffer = chunk % Traits::kBuffers;
    const unsigned full = smem.residual_full(warpgroup, buffer);
    mbarrier_arrive_expect_tx(full, Traits::kChunkBytes);
    tma_load_matrix(smem.address + smem.buffer_offset(warpgroup, buffer), args.residual, coord_of(unit, chunk), full);
  }

  // Loads as much of the residual as there are buffers, once the tile before has been stored from them.
  __device__ __forceinline__ void load_first(const Unit &unit) const {
    if constexpr (!Traits::kIsSplitK) {
      if (is_copying()) {
        tma_store_wait();
        for (int chunk = 0; chunk < Traits::kBuffers; ++chunk) load_chunk(unit, chunk);
      }
      __syncwarp();
    }
  }

  // The lane's address in a buffer for ldmatrix and stmatrix: a row of the k-th 16 columns, two swizzled units of 16
  // bytes. The four 8 x 8 matrices go from top to bottom, then from left to right.
  __device__ __forceinline__ static int lane_offset(int k) {
    const int row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 16, unit = 2 * k + threadIdx.x / 16 % 2;
    return row * MatrixPanel::kRowBytes + (unit ^ row % 8) * MatrixPanel::kUnitBytes;
  }

  // Two accumulators beside each other in a row, with the biases of their columns and their residuals.
  __device__ __forceinline__ static unsigned finish_pair(float left, float right, unsigned bias, unsigned residual) {
    const float2 pair = linear::finish_pair<Element, Traits::kActivation>(left, right, bias, residual);
    return pack<Element>(pair.x, pair.y);
  }

  // A chunk in place, from the accumulators of its panel.
  __device__ __forceinline__ static void finish_chunk(unsigned char *buffer, const float (*acc)[4],
                                                      const unsigned (&bias)[8]) {
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      unsigned char *const at = buffer + lane_offset(k);
      const float (&left)[4] = acc[2 * k], (&right)[4] = acc[2 * k + 1];
      unsigned residual[4];
      ldmatrix_x4(residual, at);
      stmatrix_x4(at, finish_pair(left[0], left[1], bias[2 * k], residual[0]),
                  finish_pair(left[2], left[3], bias[2 * k], residual[1]),
                  finish_pair(right[0], right[1], bias[2 * k + 1], residual[2]),
                  finish_pair(right[2], right[3], bias[2 * k + 1], residual[3]));
    }
  }

  // The lane's two columns of each eight of a panel. n is a multiple of eight.
  __device__ __forceinline__ void load_bias(unsigned (&bias)[8], int column) const {
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      const int at = column + 8 * t;
      bias[t] =
          at < args.n ? *reinterpret_cast<const unsigned *>(args.bias + 2 * int64_t(at) + threadIdx.x % 4 * 4) : 0;
    }
  }

  __device__ __forceinline__ void store_output(const float (&acc)[Traits::kRowBlocks][Traits::kTilesN][4],
                                               const Unit &unit) {
    // How many stores behind the latest the one is whose buffer is filled again: 0 waits for its reads at once, 1 lets
    // the next chunk's arithmetic run meanwhile, but needs a buffer more to have a chunk ahead.
    constexpr int kLag = Traits::kBuffers > 2 ? 1 : 0;
#pragma unroll
    for (int panel = 0; panel < Traits::kPanels; ++panel) {
      unsigned bias[8];
      load_bias(bias, unit.column + panel * MatrixPanel::kColumns);
#pragma unroll
      for (int block = 0; block < Traits::kRowBlocks; ++block) {
        const int chunk = panel * Traits::kRowBlocks + block, buffer = chunk % Traits::kBuffers;
        const int offset = smem.buffer_offset(warpgroup, buffer);
        mbarrier_wait(smem.residual_full(warpgroup, buffer), (uses + chunk / Traits::kBuffers) & 1);
        finish_chunk(smem.base + offset, &acc[block][8 * panel], bias);
        fence_proxy_async();
        named_barrier_sync<128>(kFirstEpilogueBarrier + warpgroup);
        if (is_copying()) {
          tma_store_matrix(args.out, coord_of(unit, chunk), smem.address + offset);
          tma_store_commit();
          const int next = chunk - kLag + Traits::kBuffers;
          if (chunk >= kLag && next < Traits::kChunks) {
            tma_store_wait_read<kLag>();
            load_chunk(unit, next);
          }
        }
      }
    }
    __syncwarp();
    uses += Traits::kChunks / Traits::kBuffers;
  }

  // With split-K: the accumulators as they are. The four lanes of a row fill a sector of memory.
  __device__ __forceinline__ void store_partials(const float (&acc)[Traits::kRowBlocks][Traits::kTilesN][4],
                                                 const Unit &unit) const {
#pragma unroll
    for (int block = 0; block < Traits::kRowBlocks; ++block)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = unit.row + block * 64 + threadIdx.x % 128 / 32 * 16 + half * 8 + threadIdx.x % 32 / 4;
        float *const to = args.partials + (int64_t(unit.split) * args.m + row) * args.n + unit.column;
#pragma unroll
        for (int t = 0; t < Traits::kTilesN; ++t)
          if (row < args.m && unit.column + 8 * t < args.n)
            *reinterpret_cast<float2 *>(to + 8 * t + threadIdx.x % 4 * 2) =
                make_float2(acc[block][t][2 * half], acc[block][t][2 * half + 1]);
      }
  }

  __device__ __forceinline__ void store(const float (&acc)[Traits::kRowBlocks][Traits::kTilesN][4], const Unit &unit) {
    if constexpr (Traits::kIsSplitK) {
      store_partials(acc, unit);
    } else {
      store_output(acc, unit);
    }
  }

  // Shared memory belongs to the block until TMA has read it.
  __device__ __forceinline__ void finish_stores() const {
    if constexpr (!Traits::kIsSplitK)
      if (is_copying()) tma_store_wait();
  }
};

}  // namespace evoflash::linear_wgmma
#endif
