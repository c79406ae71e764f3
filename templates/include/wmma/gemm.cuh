#pragma once

// See fragments.cuh.
namespace evoflash::wmma {}

#include "wmma/fragments.cuh"
#include "wmma/kernel_traits.cuh"
#include "wmma/layout.cuh"

// The two matrix products of a warp's step.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

// The operand Q between the steps: fragments, or its rows in shared memory.
template <bool kIsQInRegs, class Traits>
struct QOperandOf {
  using Type = FragmentQ<Traits>[Traits::kTilesM][Traits::kTilesHead];
};
template <class Traits>
struct QOperandOf<false, Traits> {
  using Type = const Operand<Traits> (*)[Traits::kPitch];
};
template <class Traits>
using QOperand = typename QOperandOf<Traits::kIsQInRegs, Traits>::Type;

// acc_s = Q K^T over the warp's rows and one slice of keys.
template <class Traits, class Q>
__device__ __forceinline__ void gemm_qk(Scores<Traits> &acc_s, Q q, const Operand<Traits> (*k)[Traits::kPitch]) {
#pragma unroll
  for (int m = 0; m < Traits::kTilesM; ++m)
#pragma unroll
    for (int n = 0; n < Traits::kTilesN; ++n) fill_fragment(acc_s[m][n], 0.0f);
#pragma unroll
  for (int d = 0; d < Traits::kTilesHead; ++d) {
    FragmentQ<Traits> fragment_q[Traits::kTilesM];
    if constexpr (!Traits::kIsQInRegs) {
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) load_matrix_sync(fragment_q[m], &q[m * 16][d * 16], Traits::kPitch);
    }
#pragma unroll
    for (int n = 0; n < Traits::kTilesN; ++n) {
      FragmentK<Traits> fragment_k;
      load_matrix_sync(fragment_k, &k[n * 16][d * 16], Traits::kPitch);
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) {
        if constexpr (Traits::kIsQInRegs) {
          mma_sync(acc_s[m][n], q[m][d], fragment_k, acc_s[m][n]);
        } else {
          mma_sync(acc_s[m][n], fragment_q[m], fragment_k, acc_s[m][n]);
        }
      }
    }
  }
}

// acc_o += P V over the same slice. P is accumulators, or rows in shared memory.
template <class Traits, class P>
__device__ __forceinline__ void gemm_pv(Accumulator (&acc_o)[Traits::kTilesM][Traits::kTilesHead], P p,
                                        const Operand<Traits> (*v)[Traits::kPitch]) {
#pragma unroll
  for (int n = 0; n < Traits::kTilesN; ++n) {
    FragmentP<Traits> fragment_p[Traits::kTilesM];
#pragma unroll
    for (int m = 0; m < Traits::kTilesM; ++m) {
      if constexpr (Traits::kIsPInRegs) {
        to_operand<Traits>(p[m][n], fragment_p[m]);
      } else {
        load_matrix_sync(fragment_p[m], &p[m * 16][n * 16], Traits::kPitchP);
      }
    }
#pragma unroll
    for (int d = 0; d < Traits::kTilesHead; ++d) {
      FragmentV<Traits> fragment_v;
      load_matrix_sync(fragment_v, &v[n * 16][d * 16], Traits::kPitch);
#pragma unroll
      for (int m = 0; m < Traits::kTilesM; ++m) mma_sync(acc_o[m][d], fragment_p[m], fragment_v, acc_o[m][d]);
    }
  }
}

}  // namespace evoflash::wmma
#endif
