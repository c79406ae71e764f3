#pragma once

#include "math.cuh"
#include "warp.cuh"

// Softmax on accumulators: 16 rows by tiles of 8 columns, as mma.sync and wgmma leave them. Of each tile, lane 4 g + c
// holds columns 2c and 2c + 1 of row g in elements 0 and 1, and of row g + 8 in elements 2 and 3.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// The maximum of a row before its first key, and of one whose scores are all -inf. Finite, as (-inf) - (-inf) is no
// number.
constexpr float kNoMaximum = -0x1.fffffep127f;

// 2^(scale * (score - row_max)), where the score is a maximum as well: an earlier one, or that of a part of the keys.
__device__ __forceinline__ float exp2_from_max(float score, float row_max, float softmax_scale_log2) {
  return exp2_approx((score - row_max) * softmax_scale_log2);
}

// What the exponents of a lane's rows are measured from. A probability is 2^(scale * score - offset), whose exponent
// takes one instruction, and the offset is scale * row_max.
//
// The offset is rounded and the product is not. So all probabilities of a row have a factor in common: 2 to the power
// of what the offset lacks. It cancels in the division by the row's sum, but from 2^28 on it may leave the range of
// Half, from 2^31 on that of floats. A large offset is therefore not used: the maximum is subtracted from the scores
// before they are scaled. Below kLargeOffset the factor is within 2^(2^-13), as if scores had been rounded once more,
// and exp2_from_max need not know it.
template <int kRows>
struct Origin {
  static constexpr float kLargeOffset = 4096;

  float offset[kRows];
  bool is_shifted;     // whether any row of the warp is
  float shift[kRows];  // if so, what to subtract from the scores: the maximum, or nothing

  __device__ __forceinline__ Origin(const float (&row_max)[kRows], float softmax_scale_log2) {
    bool has_large = false;
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      offset[row] = row_max[row] * softmax_scale_log2;
      has_large |= is_large(offset[row]);
    }
    is_shifted = __any_sync(kAllLanes, has_large);
    if (!is_shifted) return;
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      const bool is_replaced = is_large(offset[row]);
      shift[row] = is_replaced ? row_max[row] : 0.0f;
      offset[row] = is_replaced ? 0.0f : offset[row];
    }
  }

  // Subtracts large maxima from scores, which are then measured from the offsets.
  template <int kTiles>
  __device__ __forceinline__ void shift_scores(float (&acc_s)[kTiles][4]) const {
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 2 * kRows; ++i) acc_s[t][i] -= shift[i / 2];
  }

 private:
  __device__ __forceinline__ static bool is_large(float offset) { return fabsf(offset) >= kLargeOffset; }
};

// The scale of scores, and what their exponents are measured from where no instruction is to spare: a probability is
// 2^(scale * score - offset), with the offset of the row's maximum. A branch for large maxima would keep instructions
// of the loop apart, or have those that follow it fetched late. So a maximum that is very large has the next power of
// two for a scale, with which the offset is exact. Other scores are so far from it that their probabilities vanish
// under either. Smaller offsets lack up to 4, a factor of 16 that all types bear.
//
// What was summed up under one offset is therefore rescaled by the distance of offsets, not of maxima.
struct ScoreScale {
  static constexpr float kVeryLargeOffset = 0x1p27f;

  float log2;  // times log2(e)
  float power_of_two;

  __device__ __forceinline__ explicit ScoreScale(float softmax_scale_log2)
      : log2(softmax_scale_log2),
        power_of_two(__uint_as_float((__float_as_uint(softmax_scale_log2) + 0x7fffff) & 0x7f800000)) {}

  // Finite also for a maximum of -inf.
  __device__ __forceinline__ float offset(float maximum) const {
    const float product = maximum * log2;
    return fmaxf(is_very_large(product) ? maximum * power_of_two : product, kNoMaximum);
  }

  // The scale under which a row has its offset.
  __device__ __forceinline__ float under(float offset) const { return is_very_large(offset) ? power_of_two : log2; }

 private:
  __device__ __forceinline__ static bool is_very_large(float offset) { return fabsf(offset) >= kVeryLargeOffset; }
};

// 2^x of one of a row's elements. kPolynomialShare of 16 neighbouring elements, evenly spread, are computed by the
// polynomial, so that the multipliers and the special function unit work side by side.
template <int kPolynomialShare>
__device__ __forceinline__ float exp2_of_element(float x, int element) {
  if constexpr (kPolynomialShare > 0) {
    return element * kPolynomialShare % 16 < kPolynomialShare ? exp2_polynomial(x) : exp2_approx(x);
  } else {
    return exp2_approx(x);
  }
}

// The state of softmax over a lane's rows, and its steps. Scores are unscaled: softmax_scale_log2, the scale times
// log2(e), is applied together with the exponential.
//   kRowsPerLane       2, or 1 where rows g + 8 are empty.
//   kRescaleThreshold  How far, in powers of two, probabilities may exceed 1 before the offset is updated. Neither
//                      halves nor floats mind a small excess, and the output is rescaled less often.
//   kPolynomialShare   Sixteenths of the exponentials that are computed by the polynomial.
template <int kRowsPerLane, int kRescaleThreshold, int kPolynomialShare>
struct Softmax {
  float offset[kRowsPerLane];        // of the row's maximum, behind which it may lag by what the threshold allows
  float row_sum[kRowsPerLane] = {};  // of this lane's columns

  __device__ __forceinline__ Softmax() {
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) offset[half] = kNoMaximum;
  }

  // Raises `maximum` to the largest of the lane's own scores, row by row.
  template <int kTiles>
  __device__ __forceinline__ static void lane_max(float (&maximum)[kRowsPerLane], const float (&acc_s)[kTiles][4]) {
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half)
#pragma unroll
      for (int t = 0; t < kTiles; ++t)
        maximum[half] = fmaxf(maximum[half], fmaxf(acc_s[t][2 * half], acc_s[t][2 * half + 1]));
  }

  // The largest score of each row, over the four lanes that share it.
  template <int kTiles>
  __device__ __forceinline__ static void reduce_max(float (&maximum)[kRowsPerLane], const float (&acc_s)[kTiles][4]) {
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) maximum[half] = kNoMaximum;
    lane_max(maximum, acc_s);
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) maximum[half] = warp_reduce_max<4>(maximum[half]);
  }

  // Measures from these maxima, when nothing has been summed up.
  __device__ __forceinline__ void measure_from(const float (&maximum)[kRowsPerLane], float softmax_scale_log2) {
    const ScoreScale scale(softmax_scale_log2);
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) offset[half] = scale.offset(maximum[half]);
  }

  // A sink is one more key, with a value of 0, that was seen before all others.
  __device__ __forceinline__ void begin_with_sink(float score, float softmax_scale_log2) {
    const ScoreScale scale(softmax_scale_log2);
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) {
      offset[half] = scale.offset(score);
      row_sum[half] = threadIdx.x % 4 == 0 ? 1.0f : 0.0f;  // of this lane's columns
    }
  }

  // Scores become probabilities and are summed up.
  template <int kTiles>
  __device__ __forceinline__ void scale_apply_exp2(float (&acc_s)[kTiles][4], float softmax_scale_log2) {
    const ScoreScale scale(softmax_scale_log2);
    float row_scale[kRowsPerLane];
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) row_scale[half] = scale.under(offset[half]);
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 2 * kRowsPerLane; ++i) {
        const float x = fmaf(acc_s[t][i], row_scale[i / 2], -offset[i / 2]);
        acc_s[t][i] = exp2_of_element<kPolynomialShare>(x, t * 4 + i);
        row_sum[i / 2] += acc_s[t][i];
      }
  }

  // Softmax over all keys at once: there is nothing to rescale.
  template <int kTiles>
  __device__ __forceinline__ void softmax(float (&acc_s)[kTiles][4], float softmax_scale_log2) {
    float maximum[kRowsPerLane];
    reduce_max(maximum, acc_s);
    measure_from(maximum, softmax_scale_log2);
    scale_apply_exp2(acc_s, softmax_scale_log2);
  }

  // A step of online softmax: updates the offsets where the scores ask for it, rescales what was summed up before, and
  // computes the probabilities.
  template <int kTiles, int kOutTiles>
  __device__ __forceinline__ void online_softmax(float (&acc_s)[kTiles][4], float (&acc_o)[kOutTiles][4],
                                                 float softmax_scale_log2, bool is_first) {
    float scores_scale[kRowsPerLane];
    const bool is_raised = max_get_scale(scores_scale, acc_s, softmax_scale_log2);
    if (!is_first && is_raised) rescale_o(acc_o, scores_scale);
    scale_apply_exp2(acc_s, softmax_scale_log2);
  }

  // The step's first part alone, for kernels whose output is still being accumulated when the scores come: updates the
  // offsets to those of new maxima where these ask for it, and rescales row_sum. Returns whether any row of the warp
  // was updated; then the output has yet to be rescaled by scores_scale, which is 1 for the other rows.
  __device__ __forceinline__ bool update_max(float (&scores_scale)[kRowsPerLane], const float (&maximum)[kRowsPerLane],
                                             float softmax_scale_log2) {
    const ScoreScale scale(softmax_scale_log2);
    bool is_raised = false;
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) {
      const float old = offset[half], own = scale.offset(maximum[half]);
      const bool raises = own > old + float(kRescaleThreshold);
      offset[half] = raises ? own : old;
      scores_scale[half] = exp2_approx(old - offset[half]);
      row_sum[half] *= scores_scale[half];
      is_raised |= raises;
    }
    return __any_sync(kAllLanes, is_raised);
  }

  // The same for the scores of a step.
  template <int kTiles>
  __device__ __forceinline__ bool max_get_scale(float (&scores_scale)[kRowsPerLane], const float (&acc_s)[kTiles][4],
                                                float softmax_scale_log2) {
    float maximum[kRowsPerLane];
    reduce_max(maximum, acc_s);
    return update_max(scores_scale, maximum, softmax_scale_log2);
  }

  template <int kOutTiles>
  __device__ __forceinline__ static void rescale_o(float (&acc_o)[kOutTiles][4],
                                                   const float (&scores_scale)[kRowsPerLane]) {
#pragma unroll
    for (int t = 0; t < kOutTiles; ++t)
#pragma unroll
      for (int i = 0; i < 2 * kRowsPerLane; ++i) acc_o[t][i] *= scores_scale[i / 2];
  }
};

}  // namespace evoflash
#endif
