#pragma once

#include "attention_problem.h"

// What a kernel that takes the problem as it is computes from it: where the rows of a head lie, and what a row sees.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// The head of K and V that query head bidh attends to. Most problems have as many of both, and are spared the division,
// which costs some 40 cycles at the start of a kernel.
__device__ __forceinline__ int kv_head_of(const AttentionProblem &problem, int bidh) {
  return problem.heads == problem.kv_heads ? bidh : bidh / (problem.heads / problem.kv_heads);
}

// The first row of a head.
template <class Element>
__device__ __forceinline__ Element *rows_of(Element *base, const int64_t (&stride)[3], int bidb, int bidh) {
  return base + bidb * stride[0] + bidh * stride[1];
}

// How many keys a row sees. The causal mask is top-left, so every row sees key 0, whatever the lengths.
template <bool kIsCausal>
__device__ __forceinline__ int visible_keys(const AttentionProblem &problem, int row) {
  if constexpr (kIsCausal) {
    return min(row + 1, problem.seq_kv);
  } else {
    return problem.seq_kv;
  }
}

}  // namespace evoflash
#endif
