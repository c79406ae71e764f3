#pragma once

#include "mma/storage.cuh"
#include "mma_sync.cuh"
#include "pairs.cuh"

// The two products of a warp, with operands by ldmatrix from shared memory and accumulators in registers. Each is
// computed over one of kChunks parts of the warp's keys at a time.
//
// Where a row has an odd multiple of 8 columns, nothing is padded: m16n8k8 multiplies the last eight columns of Q and
// K, and O has an odd number of accumulators.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::mma {

template <class Traits>
using Ldmatrix = LdmatrixLane<SmemTile<Traits::kHeadDim>>;
template <class Traits>
using LdmatrixValue = LdmatrixLane<SmemTile<Traits::kValueDim>>;

// Loads the A operand of columns 16 * k on.
template <class Traits>
__device__ __forceinline__ void load_q_operand(unsigned (&words)[4], const unsigned char *smem_q,
                                               const Ldmatrix<Traits> &top_down, int m, int k) {
  const unsigned char *const row = smem_q + top_down.template at<Traits::kBlockM>(m * 16, k);
  if (Traits::kIsLastKHalf && k == Traits::kTilesK - 1) {
    ldmatrix_x2(words[0], words[1], row);
  } else {
    ldmatrix_x4(words, row);
  }
}

// Q's operands where they stay in registers between steps.
template <class Traits>
struct QInRegs {
  unsigned words[Traits::kTilesM][Traits::kTilesK][4];

  __device__ __forceinline__ explicit QInRegs(const unsigned char *smem_q) {
    const Ldmatrix<Traits> lane = Ldmatrix<Traits>::top_down();
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
      for (int k = 0; k < Traits::kTilesK; ++k) load_q_operand<Traits>(words[m][k], smem_q, lane, m, k);
  }

  // The operands of columns 16 * k on: [m][0] to [m][3] are those of tile m.
  struct Reader {
    const QInRegs &q;
    struct Operands {
      const QInRegs &q;
      int k;
      __device__ __forceinline__ const unsigned (&operator[](int m) const)[4] { return q.words[m][k]; }
    };
    __device__ __forceinline__ Operands operator()(int k) const { return {q, k}; }
  };
  __device__ __forceinline__ Reader reader() const { return {*this}; }
};

// Q's operands where they are read from shared memory in each step.
template <class Traits>
struct QInSmem {
  const unsigned char *smem_q;

  __device__ __forceinline__ explicit QInSmem(const unsigned char *smem_q) : smem_q(smem_q) {}

  struct Reader {
    const unsigned char *smem_q;
    Ldmatrix<Traits> lane;
    struct Operands {
      unsigned words[Traits::kTilesM][4];
      __device__ __forceinline__ const unsigned (&operator[](int m) const)[4] { return words[m]; }
    };
    __device__ __forceinline__ Operands operator()(int k) const {
      Operands operands;
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) load_q_operand<Traits>(operands.words[m], smem_q, lane, m, k);
      return operands;
    }
  };
  __device__ __forceinline__ Reader reader() const { return {smem_q, Ldmatrix<Traits>::top_down()}; }
};

// S = Q K^T over the warp's rows and a chunk of its keys.
template <class Traits, int kChunk, class QOperands>
__device__ __forceinline__ void gemm_qk(float (&acc_s)[Traits::kTilesM][Traits::kTilesN][4], const QOperands &q,
                                        const unsigned char *smem_k) {
  constexpr int kFirst = kChunk * Traits::kChunkN, kEnd = kFirst + Traits::kChunkN;
  const Ldmatrix<Traits> lane = Ldmatrix<Traits>::left_right();
  const auto read_q = q.reader();
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
    for (int n = kFirst / 8; n < kEnd / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) acc_s[m][n][i] = 0;
#pragma unroll
  for (int k = 0; k < Traits::kHeadDim / 16; ++k) {
    const auto a = read_q(k);
#pragma unroll
    for (int key = kFirst; key < kEnd; key += 16) {
      unsigned b[4];  // two operands, of eight keys each
      ldmatrix_x4(b, smem_k + lane.template at<Traits::kWarpN>(key, k));
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) {
        mma_m16n8k16<typename Traits::Element>(acc_s[m][key / 8], a[m], b[0], b[1]);
        mma_m16n8k16<typename Traits::Element>(acc_s[m][key / 8 + 1], a[m], b[2], b[3]);
      }
    }
  }
  if constexpr (Traits::kIsLastKHalf) {
    constexpr int k = Traits::kTilesK - 1;
    const Ldmatrix<Traits> top_down = Ldmatrix<Traits>::top_down();
    const auto a = read_q(k);
#pragma unroll
    for (int key = kFirst; key < kEnd; key += 16) {
      unsigned b[2];  // two operands, of eight keys each
      ldmatrix_x2(b[0], b[1], smem_k + top_down.template at<Traits::kWarpN>(key, k));
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) {
        mma_m16n8k8<typename Traits::Element>(acc_s[m][key / 8], a[m][0], a[m][1], b[0]);
        mma_m16n8k8<typename Traits::Element>(acc_s[m][key / 8 + 1], a[m][0], a[m][1], b[1]);
      }
    }
  }
}

// O += P V over a chunk of the same keys.
template <class Traits, int kChunk>
__device__ __forceinline__ void gemm_pv(float (&acc_o)[Traits::kTilesM][Traits::kTilesValue][4],
                                        const unsigned (&p)[Traits::kTilesM][Traits::kWarpN / 16][4],
                                        const unsigned char *smem_v) {
  constexpr int kFirst = kChunk * Traits::kChunkN, kEnd = kFirst + Traits::kChunkN;
  const LdmatrixValue<Traits> lane = LdmatrixValue<Traits>::top_down();
#pragma unroll
  for (int key = kFirst; key < kEnd; key += 16) {
#pragma unroll
    for (int n = 0; n < Traits::kValueDim / 16; ++n) {
      unsigned b[4];  // two operands, of eight columns each
      ldmatrix_x4_trans(b, smem_v + lane.template at<Traits::kWarpN>(key, n));
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) {
        mma_m16n8k16<typename Traits::Element>(acc_o[m][2 * n], p[m][key / 16], b[0], b[1]);
        mma_m16n8k16<typename Traits::Element>(acc_o[m][2 * n + 1], p[m][key / 16], b[2], b[3]);
      }
    }
    if constexpr (Traits::kTilesValue % 2 != 0) {
      constexpr int n = Traits::kTilesValue - 1;
      unsigned b[2];  // the operand of the last eight columns
      ldmatrix_x2_trans(b[0], b[1], smem_v + lane.template at<Traits::kWarpN>(key, n / 2));
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m)
        mma_m16n8k16<typename Traits::Element>(acc_o[m][n], p[m][key / 16], b[0], b[1]);
    }
  }
}

// The accumulators of S, rounded, are the A operands of P V: two neighbouring ones make one.
template <class Element, int kTilesN>
__device__ __forceinline__ void convert_p(unsigned (&p)[kTilesN / 2][4], const float (&acc_s)[kTilesN][4]) {
#pragma unroll
  for (int n = 0; n < kTilesN; ++n) {
    p[n / 2][n % 2 * 2] = pack<Element>(acc_s[n][0], acc_s[n][1]);
    p[n / 2][n % 2 * 2 + 1] = pack<Element>(acc_s[n][2], acc_s[n][3]);
  }
}

}  // namespace evoflash::mma
#endif
