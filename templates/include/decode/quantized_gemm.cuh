#pragma once

#include "decode/gemm.cuh"
#include "float8.cuh"

// The two products of a warp's step with keys and values of 8 bits, which become operands of 16 bits in registers.
//
// ldmatrix moves words of 16 bits, so a lane gets two neighbouring columns in place of one. No lane has to ask another
// for what it needs: a product may sum over columns in any order, and may have its rows in any order.
//   S^T: lane 4 g + c gets columns 4 c to 4 c + 3 of key g. The first two stand where the fragment has columns 2 c and
//     2 c + 1, the others where it has 2 c + 8 and 2 c + 9; the queries are loaded in the same order.
//   O^T: the lane gets columns 2 g and 2 g + 1 of keys 2 c and 2 c + 1. They are rows g and g + 8 of the fragment, and
//     output_column() tells so when they are stored.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// S^T = K Q^T.
template <class Traits>
__device__ __forceinline__ void quantized_gemm_kq(Scores<Traits> &acc_s, const unsigned char *tile_k,
                                                  const QOperands<Traits> &q) {
  using Element = typename Traits::Element;
  const auto lane = LdmatrixLane<KvTileOf<Traits>>::top_down();
  clear<Traits>(acc_s);
#pragma unroll
  for (int pair = 0; pair < QOperands<Traits>::kPairs; ++pair) {
    unsigned loaded[Traits::kTilesM][4];
    if constexpr (!Traits::kIsQInRegs) q.load(loaded, pair);
    const auto &operands = Traits::kIsQInRegs ? q.words[Traits::kIsQInRegs ? pair : 0] : loaded;
#pragma unroll
    for (int n = 0; n < Traits::kTilesN; ++n) {
      const unsigned char *const from = tile_k + lane.template at<Traits::kWarpN>(16 * n, pair);
      unsigned bytes[4];  // of keys g and g + 8, for one product after the other
      if (2 * pair + 1 == Traits::kTilesHead) {
        ldmatrix_x2(bytes[0], bytes[1], from);
      } else {
        ldmatrix_x4(bytes, from);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (2 * pair + half == Traits::kTilesHead) break;
        const unsigned upper = bytes[2 * half], lower = bytes[2 * half + 1];
        const unsigned keys[4] = {widen<Element>(upper), widen<Element>(lower), widen<Element>(upper >> 16),
                                  widen<Element>(lower >> 16)};
#pragma unroll
        for (int m = 0; m < Traits::kTilesM; ++m)
          mma_m16n8k16<Element>(acc_s[n][m], keys, operands[m][2 * half], operands[m][2 * half + 1]);
      }
    }
  }
}

// O^T += V^T P^T.
template <class Traits>
__device__ __forceinline__ void quantized_gemm_vp(Output<Traits> &acc_o, const unsigned char *tile_v,
                                                  const Scores<Traits> &acc_s) {
  using Weight = typename Traits::Weight;
  const auto lane = LdmatrixLane<KvTileOf<Traits>>::top_down();
  const auto by_column = [](unsigned bytes) { return __byte_perm(bytes, 0, 0x3120); };  // from key by key
#pragma unroll
  for (int n = 0; n < Traits::kTilesN; ++n) {
    POperand<Traits> p;
    convert_p<Traits>(p, acc_s[n]);
#pragma unroll
    for (int pair = 0; pair < QOperands<Traits>::kPairs; ++pair) {
      const unsigned char *const from = tile_v + lane.template at<Traits::kWarpN>(16 * n, pair);
      unsigned bytes[4];  // of keys 2 c and 2 c + 8, for one tile of columns after the other
      if (2 * pair + 1 == Traits::kTilesHead) {
        ldmatrix_x2_trans(bytes[0], bytes[1], from);
      } else {
        ldmatrix_x4_trans(bytes, from);
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int k = 2 * pair + half;
        if (k == Traits::kTilesHead) break;
        const unsigned first = by_column(bytes[2 * half]), last = by_column(bytes[2 * half + 1]);
        const unsigned values[4] = {widen<Weight>(first), widen<Weight>(first >> 16), widen<Weight>(last),
                                    widen<Weight>(last >> 16)};
#pragma unroll
        for (int m = 0; m < Traits::kTilesM; ++m) mma_m16n8k16<Weight>(acc_o[k][m], values, p[m][0], p[m][1]);
      }
    }
  }
}

}  // namespace evoflash::decode
#endif
