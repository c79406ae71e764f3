#pragma once

// The whole problem: what is refused, the workspace, and which thread computes which rows.
#include <omp.h>

#include "cpu_cross_entropy/row.h"
#include "cross_entropy.h"
#include "dtypes.h"
#include "tensor_checks.h"

namespace evoflash::cpu_cross_entropy {

// Bytes between the buffers of two threads: whole pages, so that threads share no line.
template <class Config>
EVOFLASH_INLINE size_t buffer_bytes(int64_t vocabulary) {
  return ((vocabulary + tiles_of(vocabulary, Config::kTile)) * sizeof(float) + 4095) / 4096 * 4096;
}

template <class Config>
static size_t workspace_bytes(const CrossEntropy &problem) {
  if constexpr (Config::kKeep == Keep::kLogits) return 0;
  return 64 + Config::kThreads * buffer_bytes<Config>(problem.logits.size[1]);
}

template <class Config>
EVOFLASH_INLINE bool is_supported(const CrossEntropy &problem) {
  constexpr int kElement = kDtype<typename Config::Element>;
  const int64_t rows = problem.logits.size[0], vocabulary = problem.logits.size[1];
  return is_matrix(problem.logits, kElement, rows, vocabulary) && is_vector(problem.target, EVOFLASH_INT64, rows) &&
         is_vector(problem.loss, EVOFLASH_FLOAT32, rows) && is_matrix(problem.grad, kElement, rows, vocabulary) &&
         vocabulary > 0 && vocabulary < INT32_MAX / 2;
}

template <class Config>
EVOFLASH_INLINE int launch(const CrossEntropy &problem) {
  using Element = typename Config::Element;
  if (!is_supported<Config>(problem)) return EVOFLASH_UNSUPPORTED;
  const int64_t rows = problem.logits.size[0];
  const auto row_at = [&](int64_t i, float *buffer) EVOFLASH_INLINE_LAMBDA {
    Row<Element> row;
    row.logits = (const Element *)problem.logits.data + i * problem.logits.stride[0];
    row.grad = (Element *)problem.grad.data + i * problem.grad.stride[0];
    row.loss = (float *)problem.loss.data + i;
    row.buffer = buffer;
    row.target = ((const int64_t *)problem.target.data)[i];
    row.vocabulary = problem.logits.size[1];
    row.inverse_rows = 1.0f / rows;
    return row;
  };
  char *const workspace = (char *)(((uintptr_t)problem.workspace + 63) & ~(uintptr_t)63);

  const int allowed = omp_get_max_threads();  // by OMP_NUM_THREADS, or by whoever has set it since
#pragma omp parallel num_threads(Config::kThreads < allowed ? Config::kThreads : allowed)
  {
    float *const buffer = (float *)(workspace + omp_get_thread_num() * buffer_bytes<Config>(problem.logits.size[1]));
    if constexpr (Config::kIsDynamic) {
#pragma omp for schedule(dynamic, 1)
      for (int64_t i = 0; i < rows; ++i) compute_row<Config>(row_at(i, buffer));
    } else {
#pragma omp for schedule(static)
      for (int64_t i = 0; i < rows; ++i) compute_row<Config>(row_at(i, buffer));
    }
    fence_streams();
  }
  return 0;
}

}  // namespace evoflash::cpu_cross_entropy
