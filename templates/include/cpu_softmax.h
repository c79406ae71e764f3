#pragma once

// The online softmax of a row of S, tile by tile of keys.
//
// A family's Scratch has acc_s, row_max, row_sum and scores_scale, and names its Traits. The family also has
// store_p(scratch, row, key, p), which keeps kLanes probabilities for the product with V.
#include <float.h>

#include "cpu_exp2.h"
#include "cpu_loops.h"
#include "cpu_score_terms.h"

namespace evoflash {

// The maximum of a row before its first key, and of one whose scores are all -inf. Finite: its difference to a score
// times a scale of 0 is no NaN.
constexpr float kNoMaximum = -FLT_MAX;

template <class Traits>
EVOFLASH_INLINE Floats softmax_exp2(Floats x) {
  return exp2_polynomial<Traits::kExpDegree, Traits::kExpScaling>(x);
}

// The probabilities of kLanes scores. A key that is hidden must not count at all: its value may be infinite.
template <class Traits>
EVOFLASH_INLINE Floats probability(Floats scores, float row_max, float softmax_scale_log2) {
  const Floats p = softmax_exp2<Traits>((scores - row_max) * softmax_scale_log2);
  if constexpr (!kHasBlindRows<Traits>) return p;
  return as_floats(select((Ints)(scores == -INFINITY), Bits{}, as_bits(p)));
}

// Turns kLanes scores into probabilities, and keeps them.
template <class Scratch>
EVOFLASH_INLINE Floats make_p(Scratch &scratch, const float *scores, int row, int key, float row_max,
                              float softmax_scale_log2) {
  const Floats p = probability<typename Scratch::Traits>(load<Floats>(scores + key), row_max, softmax_scale_log2);
  store_p(scratch, row, key, p);
  return p;
}

// Turns a row of S, of a tile of keys, into P, with zeros from the last key that it sees to `cover`, and updates the
// row's maximum and sum.
template <class Scratch>
static void softmax_row(Scratch &scratch, int row, const TileView<typename Scratch::Traits> &view, int cover,
                        float softmax_scale_log2) {
  using Traits = typename Scratch::Traits;
  float *scores = scratch.acc_s + row * Traits::kSStride;
  view.apply(scores, row);
  const int visible = view.end(row), whole = visible / kLanes * kLanes;
  int key = 0;
  scratch.scores_scale[row] = 1;
  if (visible > 0) {
    const Ints in_tail = first_lanes(visible - whole);
    Floats largest[4];  // four, as one chain would wait for its own latency
    for (Floats &each : largest) each = all(-INFINITY);
    for (; key + 4 * kLanes <= whole; key += 4 * kLanes)
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) largest[i] = larger(largest[i], load<Floats>(scores + key + i * kLanes));
    for (; key < whole; key += kLanes) largest[0] = larger(largest[0], load<Floats>(scores + key));
    if (whole < visible) {
      const Bits last = select(in_tail, load<Bits>(scores + whole), as_bits(all(-INFINITY)));
      largest[1] = larger(largest[1], as_floats(last));
    }
    largest[0] = larger(larger(largest[0], largest[1]), larger(largest[2], largest[3]));

    // A NaN may get lost in a maximum, but not in the probability of its own key, and so not in the sum.
    const float old_max = scratch.row_max[row], new_max = largest_lane(largest[0]);
    const float row_max = old_max > new_max ? old_max : new_max;
    Floats sum = {};
    if constexpr (Traits::kExpUnroll == 1) {
#pragma GCC unroll 1
      for (key = 0; key < whole; key += kLanes) sum += make_p(scratch, scores, row, key, row_max, softmax_scale_log2);
    } else if constexpr (Traits::kExpUnroll == 2) {
#pragma GCC unroll 2
      for (key = 0; key < whole; key += kLanes) sum += make_p(scratch, scores, row, key, row_max, softmax_scale_log2);
    } else {
#pragma GCC unroll 4
      for (key = 0; key < whole; key += kLanes) sum += make_p(scratch, scores, row, key, row_max, softmax_scale_log2);
    }
    if (whole < visible) {
      const Floats p = probability<Traits>(load<Floats>(scores + whole), row_max, softmax_scale_log2);
      const Floats seen = as_floats(select(in_tail, as_bits(p), Bits{}));
      store_p(scratch, row, whole, seen);
      sum += seen;
      key += kLanes;
    }
    // The first tile has nothing to scale, and its difference may overflow, which times a scale of 0 is NaN.
    const float grown = old_max == kNoMaximum ? -INFINITY : (old_max - row_max) * softmax_scale_log2;
    const Floats exponent = larger(all(-200.0f), all(grown));
    const float scores_scale = softmax_exp2<Traits>(exponent)[0];
    scratch.scores_scale[row] = scores_scale;
    scratch.row_sum[row] = scratch.row_sum[row] * scores_scale + sum_lanes(sum);
    scratch.row_max[row] = row_max;
  }
  for (; key < cover; key += kLanes) store_p(scratch, row, key, Floats{});
}

}  // namespace evoflash
