#pragma once

// What is done to the scores of a row before the softmax, and which keys the rows of a tile see.
#include "cpu_exp2.h"
#include "cpu_numeric_types.h"
#include "score_features.h"
#include "log2e.h"

namespace evoflash {

// tanh x = (1 - t) / (1 + t) with t = e^(-2 |x|), and by its series where that cancels.
EVOFLASH_INLINE Floats hyperbolic_tangent(Floats x) {
  constexpr float kSmall = 0.25f;  // the next term of the series is 0.02 x^9
  const Floats square = x * x;
  const Floats series = x + x * square * (-1.0f / 3 + square * (2.0f / 15 + square * (-17.0f / 315)));
  const Bits sign = as_bits(x) & 0x80000000u;
  const Floats magnitude = as_floats(as_bits(x) ^ sign);
  const Floats t = exp2_polynomial<6, ExpScaling::kBits>(magnitude * (-2 * kLog2E));
  const Floats quotient = as_floats(as_bits((1.0f - t) / (1.0f + t)) | sign);
  return as_floats(select((Ints)(magnitude < kSmall), as_bits(series), as_bits(quotient)));
}

// Elements of a bias, up to kLanes of them; those beyond `count` are zeros.
template <class Element>
EVOFLASH_INLINE Floats load_strided(const Element *from, int64_t stride, int count) {
  VectorOf<Element> elements = {};
  if (stride == 1) {
    memcpy(&elements, from, (count < kLanes ? count : kLanes) * sizeof(Element));
  } else {
    for (int i = 0; i < kLanes && i < count; ++i)
      memcpy((char *)&elements + i * sizeof(Element), from + i * stride, sizeof(Element));
  }
  return to_floats<Element>(elements);
}

// A tile of keys as a tile of query rows sees it; rows and keys are counted from the tile's first.
template <class Traits>
struct TileView {
  const AttentionProblem &problem;
  int bidb, bidh, first_row, key, count;

  // The keys that a row sees, but for those that a mask hides: from begin(row) to end(row) - 1.
  EVOFLASH_INLINE_MEMBER int begin(int row) const {
    if constexpr (!Traits::kIsBanded) return 0;
    return within(first_key<Traits>(problem, first_row + row));
  }
  EVOFLASH_INLINE_MEMBER int end(int row) const { return within(end_key<Traits>(problem, first_row + row)); }

  EVOFLASH_INLINE_MEMBER int within(int64_t place) const {
    return place < key ? 0 : place - key < count ? int(place - key) : count;
  }

  // Turns the products of a row into scores, with -inf for what is hidden.
  void apply(float *products, int row) const {
    if constexpr (kHasScoreTerms<Traits>)
      for (int i = begin(row) / kLanes * kLanes; i < end(row); i += kLanes)
        store(products + i, score(load<Floats>(products + i), row, i));
    if constexpr (Traits::kIsBanded)
      for (int i = 0; i < begin(row); ++i) products[i] = -INFINITY;
  }

 private:
  EVOFLASH_INLINE_MEMBER Floats score(Floats product, int row, int i) const {
    Floats score = product * fabsf(problem.scale);
    if constexpr (Traits::kIsCapped) score = problem.softcap * hyperbolic_tangent(score / problem.softcap);
    if constexpr (Traits::kIsBiased) {
      const int64_t *stride = problem.bias_stride;
      const auto *bias = (const typename Traits::Element *)problem.bias + place(stride, row, i);
      score += load_strided<typename Traits::Element>(bias, stride[3], end(row) - i);
    }
    if constexpr (Traits::kHasSlopes) {
      const float position = float(first_row + row + problem.diagonal - key - i);
      Floats distance;
      for (int lane = 0; lane < kLanes; ++lane) distance[lane] = fabsf(float(lane) - position);
      score -= problem.slopes[bidh] * distance;
    }
    if constexpr (Traits::kIsMasked) {
      const int64_t *stride = problem.mask_stride;
      const unsigned char *mask = problem.mask + place(stride, row, i);
      Ints seen = {};
      for (int lane = 0; lane < kLanes && lane < end(row) - i; ++lane) seen[lane] = mask[lane * stride[3]] ? -1 : 0;
      score = as_floats(select(seen, as_bits(score), as_bits(all(-INFINITY))));
    }
    return score;
  }

  // Rows that fill up a tile read what belongs to the last row.
  EVOFLASH_INLINE_MEMBER int64_t place(const int64_t *stride, int row, int i) const {
    const int64_t own = first_row + row < problem.seq_q ? first_row + row : problem.seq_q - 1;
    return bidb * stride[0] + bidh * stride[1] + own * stride[2] + (key + i) * stride[3];
  }
};

}  // namespace evoflash
