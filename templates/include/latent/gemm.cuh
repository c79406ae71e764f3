#pragma once

#include "latent/storage.cuh"
#include "mma_sync.cuh"
#include "smem_tile.cuh"

// The two products of a step, on the same tile of keys. Query rows are the rows of both.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::latent {

// Accumulators, 16 rows by 8 keys or columns each (see mma_sync.cuh).
template <class Traits>
using Scores = float[Traits::kTilesM][2 * Traits::kTilesN][4];
template <class Traits>
using Output = float[Traits::kTilesM][2 * Traits::kTilesOut][4];

// The warp's part of a head's columns for the scores: tile t is the (t % kWarpPanelTiles)-th of its tiles in a panel.
template <class Traits>
struct DepthTiles {
  // A lane's address within the warp's first tile of a panel. Its other tiles are kDepthWarps tiles apart.
  __device__ __forceinline__ static LdmatrixLane<TileOf<Traits>> lane(LdmatrixLane<TileOf<Traits>> of_panel) {
    return {of_panel.offset ^ int(threadIdx.x / 32 % Traits::kDepthWarps * 32)};
  }
  __device__ __forceinline__ static constexpr int column_tile(int t) {
    return t / Traits::kWarpPanelTiles * Traits::kPanelTiles + t % Traits::kWarpPanelTiles * Traits::kDepthWarps;
  }
};

// Q, as A operands.
template <class Traits>
struct QOperands {
  using Tile = unsigned[Traits::kTilesM][4];

  const unsigned char *q;
  Tile words[Traits::kIsQInRegs ? Traits::kTilesDepth : 1];

  __device__ __forceinline__ explicit QOperands(const unsigned char *q) : q(q) {
    if constexpr (Traits::kIsQInRegs)
#pragma unroll
      for (int t = 0; t < Traits::kTilesDepth; ++t) load(words[t], t);
  }

  __device__ __forceinline__ void load(Tile &to, int t) const {
    const auto lane = DepthTiles<Traits>::lane(LdmatrixLane<TileOf<Traits>>::top_down());
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
      ldmatrix_x4(to[m], q + lane.template at<Traits::kBlockM>(16 * m, DepthTiles<Traits>::column_tile(t)));
  }
};

// S = Q K^T of the warp's keys, over its part of the columns, to shared memory.
template <class Traits>
__device__ __forceinline__ void gemm_qk(const SharedStorage<Traits> &smem, const unsigned char *tile,
                                        const QOperands<Traits> &q) {
  using Element = typename Traits::Element;
  const int warp = threadIdx.x / 32, first_key = warp / Traits::kDepthWarps * Traits::kWarpN;
  const unsigned char *const keys = tile + first_key * TileOf<Traits>::kPanelRowBytes;
  const auto lane = DepthTiles<Traits>::lane(LdmatrixLane<TileOf<Traits>>::left_right());
  Scores<Traits> acc_s = {};
#pragma unroll
  for (int t = 0; t < Traits::kTilesDepth; ++t) {
    typename QOperands<Traits>::Tile loaded;
    if constexpr (!Traits::kIsQInRegs) q.load(loaded, t);
    const auto &queries = Traits::kIsQInRegs ? q.words[Traits::kIsQInRegs ? t : 0] : loaded;
#pragma unroll
    for (int n = 0; n < Traits::kTilesN; ++n) {
      unsigned words[4];
      ldmatrix_x4(words, keys + lane.template at<Traits::kBlockN>(16 * n, DepthTiles<Traits>::column_tile(t)));
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) {
        mma_m16n8k16<Element>(acc_s[m][2 * n], queries[m], words[0], words[1]);
        mma_m16n8k16<Element>(acc_s[m][2 * n + 1], queries[m], words[2], words[3]);
      }
    }
  }
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float *const row = smem.scores(warp % Traits::kDepthWarps, 16 * m + 8 * half + g) + first_key + 2 * c;
#pragma unroll
      for (int n = 0; n < 2 * Traits::kTilesN; ++n)
        *reinterpret_cast<float2 *>(row + 8 * n) = make_float2(acc_s[m][n][2 * half], acc_s[m][n][2 * half + 1]);
    }
}

// O += P V of the warp's columns. V is the transposed operand of the keys' first columns.
template <class Traits>
__device__ __forceinline__ void gemm_pv(Output<Traits> &acc_o, const SharedStorage<Traits> &smem,
                                        const unsigned char *tile) {
  using Element = typename Traits::Element;
  using Tile = TileOf<Traits>;
  const int first_tile = threadIdx.x / 32 * Traits::kTilesOut;  // of 16 columns
  const unsigned char *const values =
      tile + first_tile / Traits::kPanelTiles * (Traits::kBlockN * Tile::kPanelRowBytes);
  const LdmatrixLane<Tile> lane{LdmatrixLane<Tile>::top_down().offset ^ first_tile % Traits::kPanelTiles * 32};
  const unsigned char *const weights = smem.weights(threadIdx.x % 16) + threadIdx.x / 16 % 2 * 16;
#pragma unroll
  for (int n = 0; n < Traits::kBlockN / 16; ++n) {
    unsigned p[Traits::kTilesM][4];
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
      ldmatrix_x4(p[m], weights + (16 * m * Traits::kWeightStride + 16 * n) * 2);
#pragma unroll
    for (int k = 0; k < Traits::kTilesOut; ++k) {
      unsigned words[4];
      ldmatrix_x4_trans(words, values + lane.template at<Traits::kBlockN>(16 * n, k));
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) {
        mma_m16n8k16<Element>(acc_o[m][2 * k], p[m], words[0], words[1]);
        mma_m16n8k16<Element>(acc_o[m][2 * k + 1], p[m], words[2], words[3]);
      }
    }
  }
}

}  // namespace evoflash::latent
#endif
