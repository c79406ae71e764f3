#pragma once

// The whole problem: what is refused, the workspace, and which thread computes which rows.
#include <omp.h>

#include "cpu_rms_norm/row.h"
#include "rms_norm.h"
#include "dtypes.h"
#include "tensor_checks.h"

namespace evoflash::cpu_rms_norm {

enum class Schedule { kStatic, kDynamic };  // of OpenMP

// Bytes between the buffers of two threads: whole pages, so that threads share no line.
EVOFLASH_INLINE size_t buffer_bytes(int64_t columns) { return (columns * sizeof(float) + 4095) / 4096 * 4096; }

template <class Config>
static size_t workspace_bytes(const RmsNorm &problem) {
  return Config::kKeep == Keep::kBuffer ? 64 + Config::kThreads * buffer_bytes(problem.x.size[1]) : 0;
}

template <class Config>
EVOFLASH_INLINE bool is_supported(const RmsNorm &problem) {
  constexpr int kElement = kDtype<typename Config::Element>;
  constexpr int kOut = Config::kQuantize == Quantize::kNone   ? kElement
                       : Config::kQuantize == Quantize::kInt8 ? EVOFLASH_INT8
                                                              : EVOFLASH_FLOAT8_E4M3;
  const int64_t rows = problem.x.size[0], columns = problem.x.size[1];
  return is_matrix(problem.x, kElement, rows, columns) && is_matrix(problem.residual, kElement, rows, columns) &&
         is_vector(problem.weight, kElement, columns) && is_matrix(problem.total, kElement, rows, columns) &&
         is_matrix(problem.out, kOut, rows, columns) && columns > 0 && columns < INT32_MAX / 2;
}

template <class Config>
EVOFLASH_INLINE int launch(const RmsNorm &problem, float *scale) {
  using Element = typename Config::Element;
  if (!is_supported<Config>(problem)) return EVOFLASH_UNSUPPORTED;
  constexpr int kOutBytes = Config::kQuantize == Quantize::kNone ? sizeof(Element) : 1;
  const int64_t rows = problem.x.size[0];
  const auto row_at = [&](int64_t i, float *buffer) EVOFLASH_INLINE_LAMBDA {
    Row<Element> row;
    row.x = (const Element *)problem.x.data + i * problem.x.stride[0];
    row.residual = (const Element *)problem.residual.data + i * problem.residual.stride[0];
    row.weight = (const Element *)problem.weight.data;
    row.out = (char *)problem.out.data + i * problem.out.stride[0] * kOutBytes;
    row.total = (Element *)problem.total.data + i * problem.total.stride[0];
    row.scale = scale == nullptr ? nullptr : scale + i;
    row.buffer = buffer;
    row.columns = problem.x.size[1];
    row.eps = problem.eps;
    return row;
  };
  char *const workspace = (char *)(((uintptr_t)problem.workspace + 63) & ~(uintptr_t)63);

  const int allowed = omp_get_max_threads();  // by OMP_NUM_THREADS, or by whoever has set it since
#pragma omp parallel num_threads(Config::kThreads < allowed ? Config::kThreads : allowed)
  {
    float *const buffer = (float *)(workspace + omp_get_thread_num() * buffer_bytes(problem.x.size[1]));
    if constexpr (Config::kSchedule == Schedule::kStatic) {
#pragma omp for schedule(static)
      for (int64_t i = 0; i < rows; ++i) normalise_row<Config>(row_at(i, buffer));
    } else {
#pragma omp for schedule(dynamic, Config::kChunk)
      for (int64_t i = 0; i < rows; ++i) normalise_row<Config>(row_at(i, buffer));
    }
    fence_streams();
  }
  return 0;
}

}  // namespace evoflash::cpu_rms_norm
