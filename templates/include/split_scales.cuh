#pragma once

#include "math.cuh"
#include "softmax.cuh"

// The scales by which partial outputs of the same rows, each over a part of the keys, become one.
//
// A partial output comes with its rows' offsets and sums (offset, row_sum). It is kept in ElementPartial: in floats as
// it was accumulated, or in a 16-bit type after division by row_sum, so that it stays within the range of the values.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <class ElementPartial>
constexpr bool kIsNormalized = sizeof(ElementPartial) != sizeof(float);

// The inverse of a row's sum, by which a partial output is normalised; 0 for a row of which the part sees no key, or
// none with a score above -inf.
__device__ __forceinline__ float inverse_sum(float row_sum) { return row_sum == 0 ? 0.0f : reciprocal(row_sum); }

// What each of kParts partial outputs counts in a row, by the distance of its offset from the row's. `stats` points to
// the row's (offset, row_sum) of the first part, and `stride` leads to the next part's. The result is the row's
// (offset, row_sum) over all parts; the merged row has yet to be divided by that sum. Where maxima stand in place of
// offsets, softmax_scale_log2 makes one of the other.
template <class ElementPartial, int kParts>
__device__ __forceinline__ float2 split_scales(float (&scales)[kParts], const float2 *stats, int64_t stride,
                                               float softmax_scale_log2 = 1) {
  float2 stat[kParts];
  float row_max = kNoMaximum, row_sum = 0;
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    stat[part] = stats[part * stride];
    row_max = fmaxf(row_max, stat[part].x);
  }
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    scales[part] = exp2_from_max(stat[part].x, row_max, softmax_scale_log2);
    if constexpr (kIsNormalized<ElementPartial>) {
      scales[part] *= stat[part].y;
      row_sum += scales[part];
    } else {
      row_sum = fmaf(scales[part], stat[part].y, row_sum);
    }
  }
  return make_float2(row_max, row_sum);
}

// The inverse of the sum of a whole row. A row that sees no key has a sum of 0, and an output of 0.
template <bool kMayBeBlind>
__device__ __forceinline__ float inverse_total(float row_sum) {
  return kMayBeBlind ? inverse_sum(row_sum) : reciprocal(row_sum);
}

// The log-sum-exp of a whole row, of its maximum and sum: -inf where that is 0.
__device__ __forceinline__ float log_sum_exp(float2 total, float softmax_scale_log2) {
  return fmaf(total.x, softmax_scale_log2, log2f(total.y)) * kLn2;
}

// The same of its offset in place of the maximum. A very large offset is that under another scale.
__device__ __forceinline__ float log_sum_exp(float2 total, const ScoreScale &scale) {
  return (total.x * (scale.log2 / scale.under(total.x)) + log2f(total.y)) * kLn2;
}

// Divides the scales by the row's sum.
template <bool kMayBeBlind = false, int kParts>
__device__ __forceinline__ void normalize_scales(float (&scales)[kParts], float row_sum) {
  const float inverse = inverse_total<kMayBeBlind>(row_sum);
#pragma unroll
  for (int part = 0; part < kParts; ++part) scales[part] *= inverse;
}

}  // namespace evoflash
#endif
