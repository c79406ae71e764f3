#pragma once

// Attention of one tile of query rows: from loading Q to storing O.
//
// The family has load_queries, pack_tile and attend_tile. Its Scratch is what a thread works in.
#include "attention_problem.h"
#include "cpu_numeric_types.h"
#include "cpu_packed_kv.h"
#include "cpu_softmax.h"
#include "log2e.h"

namespace evoflash {

// The problem with the scale of a head's quantised keys as a part of the softmax scale.
template <class Traits>
EVOFLASH_INLINE decltype(auto) with_key_scale(const AttentionProblem &problem, int kv_head) {
  if constexpr (Traits::kIsQuantized) {
    AttentionProblem own = problem;
    own.scale *= problem.k_scales[kv_head];
    return own;
  } else {
    return (problem);
  }
}

// `sink_log2` is a further logit of the softmax, as a power of two; -inf where there is none. `value_scale` is that of
// quantised values, or 1.
template <class Scratch>
static void store_outputs(typename Scratch::Traits::Element *to, int64_t stride, const Scratch &scratch, int rows,
                          float softmax_scale_log2, float sink_log2, float value_scale) {
  using Traits = typename Scratch::Traits;
  using Element = typename Traits::Element;
  for (int row = 0; row < rows; ++row) {
    float sum = scratch.row_sum[row];
    if constexpr (Traits::kHasSinks) sum += exp2f(sink_log2 - scratch.row_max[row] * softmax_scale_log2);
    // Where all scores are -inf, no key counts: 0, as SDPA has it, whatever 2^x makes of so small an x.
    const float inverse = scratch.row_max[row] == kNoMaximum ? 0 : value_scale / sum;
    for (int column = 0; column < Traits::kOStride; column += kLanes) {
      const VectorOf<Element> result =
          from_floats<Element>(load<Floats>(scratch.acc_o + row * Traits::kOStride + column) * inverse);
      Element *out = to + row * stride + column;
      if (column + kLanes <= Traits::kValueDim)
        store(out, result);
      else
        memcpy(out, &result, (Traits::kValueDim - column) * sizeof(Element));
    }
  }
}

// The log-sum-exp of rows. A row whose scores are all -inf has that of its sink alone.
template <class Scratch>
static void store_log_sum_exp(float *to, const Scratch &scratch, int rows, float softmax_scale_log2, float sink_log2) {
  using Traits = typename Scratch::Traits;
  for (int row = 0; row < rows; ++row) {
    const bool is_blind = scratch.row_max[row] == kNoMaximum;
    float maximum = is_blind ? -INFINITY : scratch.row_max[row] * softmax_scale_log2, sum = scratch.row_sum[row];
    if (is_blind && sum == sum) sum = 0;  // NaN stays
    if constexpr (Traits::kHasSinks) {
      const float own = maximum > sink_log2 ? maximum : sink_log2;
      sum = (sum == 0 ? 0 : sum * exp2f(maximum - own)) + exp2f(sink_log2 - own);
      maximum = own;
    }
    to[row] = sum > 0 ? (maximum + log2f(sum)) * kLn2 : sum == 0 ? -INFINITY : sum;
  }
}

// `packed` is a PackedKv, that of the head, or nothing where each tile packs its own.
template <class Scratch, class... Packed>
static void attend_rows(const AttentionProblem &all, Scratch &scratch, int bidb, int bidh, int first_row,
                        Packed... packed) {
  using Traits = typename Scratch::Traits;
  const int kv_head = bidh / (all.heads / all.kv_heads);
  const AttentionProblem &sequence = sequence_of<Traits>(all, bidb);
  const AttentionProblem &problem = with_key_scale<Traits>(sequence, kv_head);
  // There are as many tiles of each sequence as of the longest: a list of those with rows would save next to nothing.
  if (Traits::kIsPacked && first_row >= problem.seq_q) return;
  using Element = typename Traits::Element;
  const int rows = problem.seq_q - first_row < Traits::kBlockM ? problem.seq_q - first_row : Traits::kBlockM;
  // Scores are powers of two. The scale's sign goes into the queries. Scores that are changed are scaled before that.
  const float softmax_scale_log2 = kHasScoreTerms<Traits> ? kLog2E : fabsf(problem.scale) * kLog2E;
  const Element *q =
      head_of((const Element *)problem.q, problem.q_stride, bidb, bidh) + first_row * problem.q_stride[2];
  load_queries(scratch, q, problem.q_stride[2], rows, problem.scale < 0);
  for (int row = 0; row < Traits::kBlockM; ++row) {
    scratch.row_max[row] = kNoMaximum;
    scratch.row_sum[row] = 0;
  }
  memset(scratch.acc_o, 0, sizeof scratch.acc_o);

  const int begin = first_key<Traits>(problem, first_row) / Traits::kBlockN * Traits::kBlockN;
  const int end = end_key<Traits>(problem, first_row + rows - 1);
  for (int key = begin; key < end; key += Traits::kBlockN) {
    const int count = end - key < Traits::kBlockN ? end - key : Traits::kBlockN;
    const TileView<Traits> view{problem, bidb, bidh, first_row, key, count};
    if constexpr (Traits::kPacking == Packing::kTile) {
      const PackedKv<Traits> tile = {scratch.packed_k, scratch.packed_v};
      pack_keys(problem, tile, bidb, kv_head, key, count);
      attend_tile(scratch, tile, rows, view, softmax_scale_log2);
    } else {
      const PackedKv<Traits> tile = (packed.from(key), ...);
      attend_tile(scratch, tile, rows, view, softmax_scale_log2);
    }
  }
  Element *out = head_of((Element *)problem.out, problem.out_stride, bidb, bidh) + first_row * problem.out_stride[2];
  const float sink_log2 = Traits::kHasSinks ? problem.sinks[bidh] * kLog2E : -INFINITY;
  const float value_scale = Traits::kIsQuantized ? problem.v_scales[kv_head] : 1;
  store_outputs(out, problem.out_stride[2], scratch, rows, softmax_scale_log2, sink_log2, value_scale);
  if constexpr (Traits::kStoresLse)
    store_log_sum_exp(lse_of(problem).from(bidb, bidh, first_row), scratch, rows, softmax_scale_log2, sink_log2);
}

}  // namespace evoflash
