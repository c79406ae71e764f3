#pragma once

#include "hopper/storage.cuh"
#include "mma_sync.cuh"
#include "pairs.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

// The two products of a warpgroup. Both run asynchronously, as a batch each.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::hopper {

// The lane's address for stmatrix within a tile of a warpgroup's 64 rows: a row of the k-th 16 columns, that is of two
// swizzled units of 16 bytes. The four 8 x 8 matrices go from top to bottom, then from left to right.
template <class Traits>
__device__ __forceinline__ int stmatrix_offset(int k) {
  const int row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 16, unit = k % 4 * 2 + threadIdx.x / 16 % 2;
  return k / 4 * Traits::kQPanelBytes + row * Traits::Panel::kRowBytes + (unit ^ row % 8) * 16;
}

// The offset of the k-th 16 columns of a K-major operand. A panel has four of them.
__device__ __forceinline__ constexpr int k_major_offset(int k, int panel_bytes) {
  return k / 4 * panel_bytes + k % 4 * 32;
}

// P as an operand in registers: two neighbouring accumulators of S, rounded, are one.
template <class Traits, bool kIsInSmem = Traits::kIsPInSmem>
struct POperand {
  unsigned words[Traits::kKeySteps][4];

  __device__ __forceinline__ POperand(const SharedStorage<Traits> &, int) {}

  __device__ __forceinline__ void store(const float (&acc_s)[Traits::kTilesN][4]) {
    using Element = typename Traits::Element;
#pragma unroll
    for (int t = 0; t < Traits::kTilesN; ++t) {
      words[t / 2][t % 2 * 2] = pack<Element>(acc_s[t][0], acc_s[t][1]);
      words[t / 2][t % 2 * 2 + 1] = pack<Element>(acc_s[t][2], acc_s[t][3]);
    }
  }

  // acc_o += P V over the k-th 16 keys.
  __device__ __forceinline__ void wgmma_pv(float (&acc_o)[Traits::kTilesValue][4], SmemDescriptor v, int k) const {
    wgmma_rs<typename Traits::Element, Major::kMN>(acc_o, words[k], v, 1);
  }

  // Comes after a wait for the product.
  __device__ __forceinline__ void fence() { warpgroup_fence_operand(words); }
};

// P as an operand in shared memory, which leaves its registers to the accumulators. A warp's products read only rows
// that the warp itself has stored.
template <class Traits>
struct POperand<Traits, true> {
  unsigned char *tile;
  SmemDescriptor descriptor;

  __device__ __forceinline__ POperand(const SharedStorage<Traits> &smem, int warpgroup)
      : tile(smem.p_pointer(warpgroup)), descriptor(make_smem_descriptor(smem.p(warpgroup), kNoPanelStride)) {}

  __device__ __forceinline__ void store(const float (&acc_s)[Traits::kTilesN][4]) const {
    using Element = typename Traits::Element;
#pragma unroll
    for (int k = 0; k < Traits::kKeySteps; ++k) {
      const auto &left = acc_s[2 * k], &right = acc_s[2 * k + 1];
      stmatrix_x4(tile + stmatrix_offset<Traits>(k), pack<Element>(left[0], left[1]), pack<Element>(left[2], left[3]),
                  pack<Element>(right[0], right[1]), pack<Element>(right[2], right[3]));
    }
    fence_proxy_async();
    __syncwarp();
  }

  __device__ __forceinline__ void wgmma_pv(float (&acc_o)[Traits::kTilesValue][4], SmemDescriptor v, int k) const {
    const SmemDescriptor p = advance(descriptor, k_major_offset(k, Traits::kQPanelBytes));
    wgmma_ss<typename Traits::Element, Major::kMN>(acc_o, p, v, 1);
  }

  __device__ __forceinline__ void fence() const {}
};

// S = Q K^T.
template <class Traits>
__device__ __forceinline__ void gemm_qk(float (&acc_s)[Traits::kTilesN][4], SmemDescriptor q, unsigned smem_k) {
  const SmemDescriptor tile = make_smem_descriptor(smem_k, kNoPanelStride);
  warpgroup_arrive();
#pragma unroll
  for (int k = 0; k < Traits::kHeadSteps; ++k)
    wgmma_ss<typename Traits::Element, Major::kK>(acc_s, advance(q, k_major_offset(k, Traits::kQPanelBytes)),
                                                  advance(tile, k_major_offset(k, Traits::kKvPanelBytes)), k > 0);
  warpgroup_commit_batch();
}

// O += P V. Before each product, `before(k)` is called.
template <class Traits, class Before>
__device__ __forceinline__ void gemm_pv(float (&acc_o)[Traits::kTilesValue][4], const POperand<Traits> &p,
                                        unsigned smem_v, const Before &before) {
  const SmemDescriptor tile = make_smem_descriptor(smem_v, Traits::kKvPanelBytes);
  warpgroup_arrive();
#pragma unroll
  for (int k = 0; k < Traits::kKeySteps; ++k) {
    before(k);
    p.wgmma_pv(acc_o, advance(tile, k * 16 * Traits::Panel::kRowBytes), k);
  }
  warpgroup_commit_batch();
}
template <class Traits>
__device__ __forceinline__ void gemm_pv(float (&acc_o)[Traits::kTilesValue][4], const POperand<Traits> &p,
                                        unsigned smem_v) {
  gemm_pv<Traits>(acc_o, p, smem_v, [](int) {});
}

}  // namespace evoflash::hopper
#endif
