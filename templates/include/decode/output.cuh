#pragma once

#include "score_features.h"
#include "pairs.cuh"
#include "split_scales.cuh"

// Pieces of a row: four columns in floats.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::decode {

// sum += scale * part.
__device__ __forceinline__ void add_scaled(float4 &sum, float4 part, float scale) {
  sum.x = fmaf(part.x, scale, sum.x);
  sum.y = fmaf(part.y, scale, sum.y);
  sum.z = fmaf(part.z, scale, sum.z);
  sum.w = fmaf(part.w, scale, sum.w);
}

// Stores the piece-th four columns of a row, divided by the row's sum and multiplied by the scale of outputs.
template <class Traits>
__device__ __forceinline__ void store_output(unsigned char *row, int piece, float4 columns, float row_sum,
                                             float scale) {
  using Element = typename Traits::Element;
  const float factor = inverse_total<kHasBlindRows<Traits>>(row_sum) * scale;
  reinterpret_cast<uint2 *>(row)[piece] = make_uint2(pack<Element>(columns.x * factor, columns.y * factor),
                                                     pack<Element>(columns.z * factor, columns.w * factor));
}

}  // namespace evoflash::decode
#endif
