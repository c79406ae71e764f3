#pragma once

#include "score_features.h"
#include "math.cuh"
#include "numeric_types.cuh"

// What is done to a row's scores before the softmax.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

template <class Traits>
struct ScoreTerms {
  using Element = typename Traits::Element;
  const Element *bias;
  const unsigned char *mask;
  int64_t bias_stride, mask_stride;  // between keys
  float softcap, inverse_softcap, slope;
  int position;  // the key at which the row stands

  __device__ __forceinline__ ScoreTerms(const AttentionProblem &problem, int bidb, int bidh, int row)
      : bias_stride(problem.bias_stride[3]), mask_stride(problem.mask_stride[3]), softcap(problem.softcap) {
    if constexpr (Traits::kIsCapped) inverse_softcap = 1 / softcap;
    if constexpr (Traits::kIsBiased)
      bias = static_cast<const Element *>(problem.bias) + offset(problem.bias_stride, bidb, bidh, row);
    if constexpr (Traits::kIsMasked) mask = problem.mask + offset(problem.mask_stride, bidb, bidh, row);
    if constexpr (Traits::kHasSlopes) {
      slope = problem.slopes[bidh];
      position = row + problem.diagonal;
    }
  }

  // A score in full of a product that has been multiplied by the softmax scale.
  __device__ __forceinline__ float score(float product, int key) const {
    float score = product;
    if constexpr (Traits::kIsCapped) score = softcap * tanhf(score * inverse_softcap);
    if constexpr (Traits::kIsBiased) score += to_float(bias[key * bias_stride]);
    if constexpr (Traits::kHasSlopes) score -= slope * abs(key - position);
    if constexpr (Traits::kIsMasked) score = mask[key * mask_stride] ? score : -INFINITY;
    return score;
  }

 private:
  __device__ __forceinline__ static int64_t offset(const int64_t (&stride)[4], int bidb, int bidh, int row) {
    return bidb * stride[0] + bidh * stride[1] + row * stride[2];
  }
};

}  // namespace evoflash
#endif
