#pragma once

#include "attention_problem.h"
#include "checks.cuh"
#include "launch.cuh"

// The launcher: it refuses what the kernel cannot compute.
#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::scalar {
namespace {

template <class Traits>
bool is_supported(const AttentionProblem &problem) {
  constexpr int kElementBytes = sizeof(typename Traits::Element), kKvBytes = sizeof(typename Traits::KvElement);
  return matches<Traits>(problem, Traits::kHeadDim, Traits::kValueDim) &&
         q_rows_aligned(problem, kElementBytes, Traits::kVector * kElementBytes) &&
         kv_rows_aligned(problem, kKvBytes, Traits::kVector * kKvBytes) && fits_grid(problem.heads, problem.batch);
}

template <class Traits>
int launch_attention(const AttentionProblem &problem, void *stream, Kernel &attention) {
  if (!is_supported<Traits>(problem)) return EVOFLASH_UNSUPPORTED;
  const unsigned m_blocks = unsigned((int64_t(problem.seq_q) + Traits::kBlockM - 1) / Traits::kBlockM);
  const Dim grid(m_blocks, problem.heads, problem.batch);
  return launch(attention, {grid, Traits::kNumThreads, Traits::kSmemBytes}, stream, problem);
}

}  // namespace
}  // namespace evoflash::scalar
#endif
