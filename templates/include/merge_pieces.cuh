#pragma once

#include "numeric_types.cuh"
#include "pairs.cuh"
#include "split_scales.cuh"

// Partial outputs of the same rows in shared memory, and how they are added up.
//
// A partial output is kept as it lies in the registers. A lane's columns of a row are cut into pieces of 16 bytes: four
// columns in floats, eight in 16-bit elements; what the last piece holds beyond the columns is zero. The pieces of a
// warp's lanes follow each other, so neither writing nor reading them causes bank conflicts.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <class ElementPartial, int kHeadDim>
struct PartialPieces {
  static constexpr int kBytes = 16;
  static constexpr int kTiles = kBytes / (2 * int(sizeof(ElementPartial)));  // of 8 columns, two of them the lane's own
  static constexpr int kPerRow = (kHeadDim / 8 + kTiles - 1) / kTiles;       // of a lane

  // A piece of a lane's row (the first or second, by `half`). Where partial outputs are normalised, `factor` is the
  // inverse of the row's sum; otherwise it is not used.
  template <int kOutTiles>
  __device__ __forceinline__ static uint4 of(const float (&acc_o)[kOutTiles][4], int piece, int half, float factor) {
    if constexpr (kIsNormalized<ElementPartial>) {
      unsigned words[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (kOutTiles % kTiles != 0 && 4 * piece + i >= kOutTiles) {
          words[i] = 0;
        } else {
          const auto &tile = acc_o[4 * piece + i];
          words[i] = pack<ElementPartial>(tile[2 * half] * factor, tile[2 * half + 1] * factor);
        }
      }
      return make_uint4(words[0], words[1], words[2], words[3]);
    } else {
      const auto &left = acc_o[2 * piece];
      if (kOutTiles % kTiles != 0 && 2 * piece + 1 >= kOutTiles)
        return make_uint4(__float_as_uint(left[2 * half]), __float_as_uint(left[2 * half + 1]), 0, 0);
      const auto &right = acc_o[2 * piece + 1];
      return make_uint4(__float_as_uint(left[2 * half]), __float_as_uint(left[2 * half + 1]),
                        __float_as_uint(right[2 * half]), __float_as_uint(right[2 * half + 1]));
    }
  }

  // acc += scale * piece.
  __device__ __forceinline__ static void add(float (&acc)[kTiles][2], const unsigned char *piece, float scale) {
    if constexpr (kIsNormalized<ElementPartial>) {
      const Elements<ElementPartial, 8> values = load<8>(reinterpret_cast<const ElementPartial *>(piece));
#pragma unroll
      for (int i = 0; i < 8; ++i) acc[i / 2][i % 2] = fmaf(to_float(values.at[i]), scale, acc[i / 2][i % 2]);
    } else {
      const float4 values = *reinterpret_cast<const float4 *>(piece);
      acc[0][0] = fmaf(values.x, scale, acc[0][0]);
      acc[0][1] = fmaf(values.y, scale, acc[0][1]);
      acc[1][0] = fmaf(values.z, scale, acc[1][0]);
      acc[1][1] = fmaf(values.w, scale, acc[1][1]);
    }
  }
};

}  // namespace evoflash
#endif
