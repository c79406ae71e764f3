#pragma once

#include "attention_problem.h"
#include "checks.cuh"
#include "launch.cuh"

// The launcher: it refuses what the kernel cannot compute.
#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::wmma {
namespace {

template <class Traits>
bool is_supported(const AttentionProblem &problem) {
  return matches(problem, Traits::kHeadDim, Traits::kIsCausal) &&
         rows_aligned(problem, sizeof(typename Traits::Element), 16) && row_strides_fit_int(problem) &&
         problem.scale > 0;  // the maximum is taken before scaling
}

template <class Traits>
int launch_attention(const AttentionProblem &problem, void *stream, Kernel &attention) {
  if (!is_supported<Traits>(problem)) return EVOFLASH_UNSUPPORTED;
  const unsigned m_blocks = unsigned((int64_t(problem.seq_q) + Traits::kBlockM - 1) / Traits::kBlockM);
  if (!fits_grid(Traits::kLongestFirst ? m_blocks : problem.heads, problem.batch)) return EVOFLASH_UNSUPPORTED;
  const Dim grid =
      Traits::kLongestFirst ? Dim(problem.heads, m_blocks, problem.batch) : Dim(m_blocks, problem.heads, problem.batch);
  return launch(attention, {grid, Traits::kNumThreads, Traits::kSmemBytes}, stream, problem);
}

}  // namespace
}  // namespace evoflash::wmma
#endif
