#pragma once

#include "math.cuh"
#include "warp.cuh"

// Softmax on accumulators: 16 rows by tiles of 8 columns, as mma.sync and wgmma leave them. Of each tile, lane 4 g + c
// holds columns 2c and 2c + 1 of row g in elements 0 and 1, and of row g + 8 in elements 2 and 3.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Kept from fusing with the subtraction that follows: where the maximum stays, the two have to cancel exactly.
__device__ __forceinline__ float scaled(float row_max, float softmax_scale_log2) {
  return __fmul_rn(row_max, softmax_scale_log2);
}

// What a row's exponents are measured from. A row that has seen no key yet has a maximum of -inf; measuring it from 0
// avoids (-inf) - (-inf).
__device__ __forceinline__ float offset_of(float row_max, float softmax_scale_log2) {
  return row_max == -INFINITY ? 0.0f : scaled(row_max, softmax_scale_log2);
}

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
//   kRescaleThreshold  How far, in powers of two, probabilities may exceed 1 before the maximum is updated. Neither
//   halves
//                      nor floats mind a small excess, and the output is rescaled less often.
//   kPolynomialShare   Sixteenths of the exponentials that are computed by the polynomial.
template <int kRowsPerLane, int kRescaleThreshold, int kPolynomialShare>
struct Softmax {
  float row_max[kRowsPerLane];       // may lag behind by what the threshold allows
  float row_sum[kRowsPerLane] = {};  // of this lane's columns

  __device__ __forceinline__ Softmax() {
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) row_max[half] = -INFINITY;
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
    for (int half = 0; half < kRowsPerLane; ++half) maximum[half] = -INFINITY;
    lane_max(maximum, acc_s);
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) maximum[half] = warp_reduce_max<4>(maximum[half]);
  }

  // Whether a row's maximum has to be updated.
  __device__ __forceinline__ static bool exceeds(float maximum, float row_max, float softmax_scale_log2) {
    if constexpr (kRescaleThreshold > 0) {
      return scaled(maximum - row_max, softmax_scale_log2) > float(kRescaleThreshold);
    } else {
      return maximum > row_max;
    }
  }

  // Scores become probabilities, 2^(scale * (score - row_max)), and are summed up.
  template <int kTiles>
  __device__ __forceinline__ void scale_apply_exp2(float (&acc_s)[kTiles][4], float softmax_scale_log2) {
    float offset[kRowsPerLane];
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) offset[half] = offset_of(row_max[half], softmax_scale_log2);
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 2 * kRowsPerLane; ++i) {
        const float x = fmaf(acc_s[t][i], softmax_scale_log2, -offset[i / 2]);
        acc_s[t][i] = exp2_of_element<kPolynomialShare>(x, t * 4 + i);
        row_sum[i / 2] += acc_s[t][i];
      }
  }

  // Softmax over all keys at once: there is nothing to rescale.
  template <int kTiles>
  __device__ __forceinline__ void softmax(float (&acc_s)[kTiles][4], float softmax_scale_log2) {
    reduce_max(row_max, acc_s);
    scale_apply_exp2(acc_s, softmax_scale_log2);
  }

  // A step of online softmax: updates the maxima where the scores ask for it, rescales what was summed up before, and
  // computes the probabilities.
  template <int kTiles, int kOutTiles>
  __device__ __forceinline__ void online_softmax(float (&acc_s)[kTiles][4], float (&acc_o)[kOutTiles][4],
                                                 float softmax_scale_log2, bool is_first) {
    float maximum[kRowsPerLane], scores_scale[kRowsPerLane];
    reduce_max(maximum, acc_s);
    bool is_raised = false;
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) {
      const float old = row_max[half];
      const bool raises = exceeds(maximum[half], old, softmax_scale_log2);
      if (raises) row_max[half] = maximum[half];
      scores_scale[half] =
          raises ? exp2_approx(scaled(old, softmax_scale_log2) - offset_of(maximum[half], softmax_scale_log2)) : 1.0f;
      is_raised |= raises;
    }
    if (!is_first && __any_sync(kAllLanes, is_raised)) {
#pragma unroll
      for (int half = 0; half < kRowsPerLane; ++half) row_sum[half] *= scores_scale[half];
      rescale_o(acc_o, scores_scale);
    }
    scale_apply_exp2(acc_s, softmax_scale_log2);
  }

  // The step's first part alone, for kernels whose output is still being accumulated when the scores come: updates the
  // maxima to those of new scores where these ask for it, and rescales row_sum. Returns whether any row of the warp was
  // updated; then the output has yet to be rescaled by scores_scale, which is 1 for the other rows.
  __device__ __forceinline__ bool update_max(float (&scores_scale)[kRowsPerLane], const float (&maximum)[kRowsPerLane],
                                             float softmax_scale_log2) {
    bool is_raised = false;
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half) {
      const float old = row_max[half];
      const bool raises = exceeds(maximum[half], old, softmax_scale_log2);
      row_max[half] = raises ? maximum[half] : old;
      scores_scale[half] = exp2_approx(scaled(old, softmax_scale_log2) - offset_of(row_max[half], softmax_scale_log2));
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
