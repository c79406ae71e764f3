#pragma once

#include "decode/kernel_traits.cuh"
#include "mma_sync.cuh"
#include "pairs.cuh"
#include "smem_tile.cuh"

// The two products of a warp's step. Keys, or columns of a head, are the rows; query rows are the columns.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// S^T: of each tile, lane 4 g + c holds keys g (elements 0 and 1) and g + 8 (2 and 3) of rows 2c and 2c + 1.
template <class Traits>
using Scores = float[Traits::kTilesN][Traits::kTilesM][4];

// O^T, likewise: columns g and g + 8 of rows 2c and 2c + 1.
template <class Traits>
using Output = float[Traits::kTilesHead][Traits::kTilesM][4];

// P^T of 16 keys, as B operands.
template <class Traits>
using POperand = unsigned[Traits::kTilesM][2];

// Q^T, as B operands of the products over 16 columns each. An instruction loads those of two products, and so may read
// beyond the last column. The columns for quantised keys have the order of these (quantized_gemm.cuh).
template <class Traits>
struct QOperands {
  static constexpr int kPairs = (Traits::kTilesHead + 1) / 2;
  using Pair = unsigned[4];

  const unsigned char *q;
  Pair words[Traits::kIsQInRegs ? kPairs : 1][Traits::kTilesM];

  __device__ __forceinline__ explicit QOperands(const unsigned char *q) : q(q) {
    if constexpr (Traits::kIsQInRegs)
#pragma unroll
      for (int pair = 0; pair < kPairs; ++pair) load(words[pair], pair);
  }

  // The operands of two products, which start at column 32 * pair.
  __device__ __forceinline__ void load(Pair (&to)[Traits::kTilesM], int pair) const {
    using Tile = TileOf<Traits>;
    if constexpr (Traits::kIsQuantized) {
      const LdmatrixLane<Tile> lane{Tile::unit_offset(threadIdx.x / 4 % 8, threadIdx.x % 4 / 2) + threadIdx.x % 2 * 8};
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          if (2 * pair + half == Traits::kTilesHead) break;
          const auto *const from = q + lane.template at<Traits::kBlockM>(8 * m, 2 * pair + half);
          const uint2 columns = *reinterpret_cast<const uint2 *>(from);
          to[m][2 * half] = columns.x, to[m][2 * half + 1] = columns.y;
        }
    } else {
      const LdmatrixLane<Tile> lane{Tile::unit_offset(threadIdx.x % 8, threadIdx.x / 8 % 4)};
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m)
        ldmatrix_x4(to[m], q + lane.template at<Traits::kBlockM>(8 * m, 2 * pair));
    }
  }
};

template <class Traits>
__device__ __forceinline__ void clear(Scores<Traits> &acc_s) {
#pragma unroll
  for (int n = 0; n < Traits::kTilesN; ++n)
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int i = 0; i < 4; ++i) acc_s[n][m][i] = 0;
}

// S^T = K Q^T.
template <class Traits>
__device__ __forceinline__ void gemm_kq(Scores<Traits> &acc_s, const unsigned char *tile_k,
                                        const QOperands<Traits> &q) {
  using Element = typename Traits::Element;
  const auto lane = LdmatrixLane<TileOf<Traits>>::top_down();
  clear<Traits>(acc_s);
#pragma unroll
  for (int pair = 0; pair < QOperands<Traits>::kPairs; ++pair) {
    unsigned loaded[Traits::kTilesM][4];
    if constexpr (!Traits::kIsQInRegs) q.load(loaded, pair);
    const auto &operands = Traits::kIsQInRegs ? q.words[Traits::kIsQInRegs ? pair : 0] : loaded;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int k = 2 * pair + half;
      if (k == Traits::kTilesHead) break;
      const bool is_half_tile = Traits::kHasHalfTile && k == Traits::kTilesHead - 1;
#pragma unroll
      for (int n = 0; n < Traits::kTilesN; ++n) {
        const unsigned char *const from = tile_k + lane.template at<Traits::kWarpN>(16 * n, k);
        unsigned keys[4];
        if (is_half_tile) {
          ldmatrix_x2(keys[0], keys[1], from);
        } else {
          ldmatrix_x4(keys, from);
        }
#pragma unroll
        for (int m = 0; m < Traits::kTilesM; ++m) {
          const auto &words = operands[m];
          if (is_half_tile) {
            mma_m16n8k8<Element>(acc_s[n][m], keys[0], keys[1], words[2 * half]);
          } else {
            mma_m16n8k16<Element>(acc_s[n][m], keys, words[2 * half], words[2 * half + 1]);
          }
        }
      }
    }
  }
}

// Rounds the probabilities of 16 keys to operands. A lane has keys g of two rows, and needs two keys of row g.
template <class Traits>
__device__ __forceinline__ void convert_p(POperand<Traits> &p, const float (&acc_s)[Traits::kTilesM][4]) {
  using Weight = typename Traits::Weight;
  constexpr float kFactor = Traits::kWeightFactor;
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m) {
    p[m][0] = transpose_8x8(pack<Weight>(acc_s[m][0] * kFactor, acc_s[m][1] * kFactor));
    p[m][1] = transpose_8x8(pack<Weight>(acc_s[m][2] * kFactor, acc_s[m][3] * kFactor));
  }
}

// O^T += V^T P^T.
template <class Traits>
__device__ __forceinline__ void gemm_vp(Output<Traits> &acc_o, const unsigned char *tile_v,
                                        const Scores<Traits> &acc_s) {
  using Element = typename Traits::Element;
  const auto lane = LdmatrixLane<TileOf<Traits>>::left_right();
  const auto half_lane = LdmatrixLane<TileOf<Traits>>::top_down();
#pragma unroll
  for (int n = 0; n < Traits::kTilesN; ++n) {
    POperand<Traits> p;
    convert_p<Traits>(p, acc_s[n]);
#pragma unroll
    for (int k = 0; k < Traits::kTilesHead; ++k) {
      unsigned values[4];
      if (Traits::kHasHalfTile && k == Traits::kTilesHead - 1) {
        values[1] = values[3] = 0;
        ldmatrix_x2_trans(values[0], values[2], tile_v + half_lane.template at<Traits::kWarpN>(16 * n, k));
      } else {
        ldmatrix_x4_trans(values, tile_v + lane.template at<Traits::kWarpN>(16 * n, k));
      }
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) mma_m16n8k16<Element>(acc_o[k][m], values, p[m][0], p[m][1]);
    }
  }
}

}  // namespace evoflash::decode
#endif
