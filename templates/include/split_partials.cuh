#pragma once

#include "attention_problem.h"

// The workspace of split-KV: of each split the partial output of all rows of all heads and batches, and each row's
// maximum and sum.
namespace evoflash {
namespace {

// As the kernels take it.
struct SplitPartials {
  unsigned char *out, *stats;  // split by split: rows of ElementPartial, and (offset, row_sum) as floats
  int64_t rows;                // of a split
  int heads;                   // of a batch
};

template <class ElementPartial, int kHeadDim>
constexpr int kPartialRowBytes = kHeadDim * int(sizeof(ElementPartial));

#ifndef EVOFLASH_DEVICE_ONLY
constexpr int kPartialStatsBytes = 8;

inline int64_t rows_of_split(const AttentionProblem &problem) {
  return int64_t(problem.batch) * problem.heads * problem.seq_q;
}

template <class ElementPartial, int kHeadDim, int kNumSplits>
size_t split_partials_bytes(int64_t rows) {
  constexpr int kRowBytes = kPartialRowBytes<ElementPartial, kHeadDim>;
  return size_t(rows) * kNumSplits * (kRowBytes + kPartialStatsBytes);
}
template <class ElementPartial, int kHeadDim, int kNumSplits>
size_t split_partials_bytes(const AttentionProblem &problem) {
  return split_partials_bytes<ElementPartial, kHeadDim, kNumSplits>(rows_of_split(problem));
}

template <class ElementPartial, int kHeadDim, int kNumSplits>
SplitPartials split_partials_in(void *workspace, int64_t rows, int heads) {
  unsigned char *const out = static_cast<unsigned char *>(workspace);
  return {out, out + rows * kNumSplits * kPartialRowBytes<ElementPartial, kHeadDim>, rows, heads};
}
template <class ElementPartial, int kHeadDim, int kNumSplits>
SplitPartials split_partials_in(void *workspace, const AttentionProblem &problem) {
  return split_partials_in<ElementPartial, kHeadDim, kNumSplits>(workspace, rows_of_split(problem), problem.heads);
}
#endif

}  // namespace
}  // namespace evoflash
