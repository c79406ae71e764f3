#pragma once

#include "mma_sync.cuh"
#include "pairs.cuh"
#include "split/storage.cuh"
#include "split/tile_coord.cuh"
#include "wgmma.cuh"

// The two products of a warpgroup over a part of a step's keys. Both run asynchronously, as a batch each.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::split {

// The offset of the k-th 16 columns of a K-major operand. A panel has four of them.
__device__ __forceinline__ constexpr int k_major_offset(int k, int panel_bytes) {
  return k / 4 * panel_bytes + k % 4 * 32;
}

// Q as an operand in shared memory.
template <class Traits, bool kIsInRegisters = Traits::kIsQInRegisters>
struct QOperand {
  SmemDescriptor descriptor;

  __device__ __forceinline__ QOperand(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord)
      : descriptor(make_smem_descriptor(
            smem.q + coord.warp / 4 % Traits::kRowGroups * Traits::Panel::kCount * Traits::kQPanelBytes,
            Traits::kQPanelBytes)) {}

  // acc_s = Q K^T, or += unless k is 0, over the k-th 16 columns.
  __device__ __forceinline__ void wgmma_qk(float (&acc_s)[Traits::kTilesN][4], SmemDescriptor tile_k, int k) const {
    const SmemDescriptor q = advance(descriptor, k_major_offset(k, Traits::kQPanelBytes));
    wgmma_ss<typename Traits::Element, Major::kK>(acc_s, q, tile_k, k > 0);
  }
};

// Q as an operand in registers. It is loaded anew in each step: the compiler has been seen to lose operands that
// outlive a product.
template <class Traits>
struct QOperand<Traits, true> {
  unsigned words[Traits::kHeadSteps][4];

  __device__ __forceinline__ QOperand(const SharedStorage<Traits> &smem, const TileCoord<Traits> &coord) {
    constexpr int kPanels = Traits::Panel::kCount, kRowBytes = Traits::Panel::kRowBytes;
    const int warp = coord.warp, lane = coord.lane;
    if constexpr (Traits::kWarpM == 16) {
#pragma unroll
      for (int k = 0; k < Traits::kHeadSteps; ++k) {
        const int row = warp % 4 * 16 + lane % 16, unit = k % 4 * 2 + lane / 16;
        const int panel = warp / 4 % Traits::kRowGroups * kPanels + k / 4;
        ldmatrix_x4(words[k], smem.base + panel * Traits::kQPanelBytes + row * kRowBytes + (unit ^ row % 8) * 16);
      }
    } else {
      // The lower eight rows are empty, so four matrices are the columns of two products.
#pragma unroll
      for (int k = 0; k < Traits::kHeadSteps; k += 2) {
        const int row = warp % 4 * 8 + lane % 8, unit = k % 4 * 2 + lane / 8;
        const int panel = warp / 4 % Traits::kRowGroups * kPanels + k / 4;
        unsigned columns[4];
        ldmatrix_x4(columns, smem.base + panel * Traits::kQPanelBytes + row * kRowBytes + (unit ^ row % 8) * 16);
        for (int i = 0; i < (k + 1 < Traits::kHeadSteps ? 4 : 2); ++i) {
          words[k + i / 2][i % 2 * 2] = columns[i];
          words[k + i / 2][i % 2 * 2 + 1] = 0;
        }
      }
    }
  }

  __device__ __forceinline__ void wgmma_qk(float (&acc_s)[Traits::kTilesN][4], SmemDescriptor tile_k, int k) const {
    wgmma_rs<typename Traits::Element, Major::kK>(acc_s, words[k], tile_k, k > 0);
  }
};

// S = Q K^T.
template <class Traits>
__device__ __forceinline__ void gemm_qk(float (&acc_s)[Traits::kTilesN][4], const QOperand<Traits> &q,
                                        SmemDescriptor tile_k, int part) {
  const int part_offset = part * (Traits::kKvPanelBytes / Traits::kParts);
  warpgroup_arrive();
#pragma unroll
  for (int k = 0; k < Traits::kHeadSteps; ++k)
    q.wgmma_qk(acc_s, advance(tile_k, k / 4 * Traits::kKvPanelBytes + part_offset + k % 4 * 32), k);
  warpgroup_commit_batch();
}

// P of a part as an operand in registers.
template <class Traits>
using POperand = unsigned[Traits::kKeySteps][4];

template <class Traits>
__device__ __forceinline__ void clear(POperand<Traits> (&p)[Traits::kParts]) {
#pragma unroll
  for (int part = 0; part < Traits::kParts; ++part)
#pragma unroll
    for (int k = 0; k < Traits::kKeySteps; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) p[part][k][i] = 0;
}

// Two neighbouring accumulators of S, rounded, are one operand.
template <class Traits>
__device__ __forceinline__ void convert_p(POperand<Traits> &p, const float (&acc_s)[Traits::kTilesN][4]) {
  using Element = typename Traits::Element;
#pragma unroll
  for (int k = 0; k < Traits::kKeySteps; ++k) {
    const auto &left = acc_s[2 * k], &right = acc_s[2 * k + 1];
    p[k][0] = pack<Element>(left[0], left[1]);
    p[k][1] = Traits::kRowsPerLane == 2 ? pack<Element>(left[2], left[3]) : 0;
    p[k][2] = pack<Element>(right[0], right[1]);
    p[k][3] = Traits::kRowsPerLane == 2 ? pack<Element>(right[2], right[3]) : 0;
  }
}

// O += P V.
template <class Traits>
__device__ __forceinline__ void gemm_pv(float (&acc_o)[Traits::kTilesValue][4], const POperand<Traits> &p,
                                        SmemDescriptor tile_v, int part) {
  warpgroup_arrive();
#pragma unroll
  for (int k = 0; k < Traits::kKeySteps; ++k)
    wgmma_rs<typename Traits::Element, Major::kMN>(
        acc_o, p[k], advance(tile_v, (part * Traits::kPartKeys + k * 16) * Traits::Panel::kRowBytes), 1);
  warpgroup_commit_batch();
}

// Waits for the last products of a step.
template <class Traits>
__device__ __forceinline__ void wait_o(float (&acc_o)[Traits::kTilesValue][4], POperand<Traits> (&p)[Traits::kParts]) {
  warpgroup_wait<0>();
#pragma unroll
  for (int part = Traits::kIsRunningMax ? Traits::kParts - 2 : 0; part < Traits::kParts; ++part)
    warpgroup_fence_operand(p[part]);
  warpgroup_fence_operand(acc_o);
}

}  // namespace evoflash::split
#endif
