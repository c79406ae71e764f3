#pragma once

#include "cross_entropy.h"
#include "cross_entropy_rows/arguments.cuh"
#include "launch.cuh"
#include "tensor_checks.h"

// The launcher: it refuses what the kernel cannot compute.
#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::cross_entropy_rows {
namespace {

// Whether rows of both begin equally far from a multiple of a vector's bytes, so that vectors of both are aligned.
inline bool are_congruent(const EvoflashTensor &one, const EvoflashTensor &other, int element_bytes, int bytes) {
  const uintptr_t begins = reinterpret_cast<uintptr_t>(one.data) - reinterpret_cast<uintptr_t>(other.data);
  const uintptr_t steps = uintptr_t(one.stride[0] - other.stride[0]) * element_bytes;
  return begins % bytes == 0 && (steps % bytes == 0 || one.size[0] <= 1);
}

template <class Config>
bool is_supported(const CrossEntropy &problem) {
  constexpr int kBytes = sizeof(typename Config::Element);
  const int64_t rows = problem.logits.size[0], vocabulary = problem.logits.size[1];
  return is_matrix(problem.logits, Config::kDtype, rows, vocabulary) &&
         is_vector(problem.target, EVOFLASH_INT64, rows) && is_vector(problem.loss, EVOFLASH_FLOAT32, rows) &&
         is_matrix(problem.grad, Config::kDtype, rows, vocabulary) && is_aligned(problem.logits, 0, kBytes) &&
         are_congruent(problem.logits, problem.grad, kBytes, Config::kVector * kBytes) && vocabulary > 0 &&
         vocabulary <= INT32_MAX / 2 && rows <= INT32_MAX / 2;
}

template <class Config>
int launch(const CrossEntropy &problem, void *stream, evoflash::Kernel &kernel) {
  if (!is_supported<Config>(problem)) return EVOFLASH_UNSUPPORTED;
  Arguments args{};
  args.logits = problem.logits.data;
  args.target = static_cast<const int64_t *>(problem.target.data);
  args.loss = static_cast<float *>(problem.loss.data);
  args.grad = problem.grad.data;
  args.logits_stride = problem.logits.stride[0];
  args.grad_stride = problem.grad.stride[0];
  args.rows = int(problem.logits.size[0]);
  args.vocabulary = int(problem.logits.size[1]);

  const int clusters = Config::kIsPersistent && args.rows > Config::kResident ? Config::kResident : args.rows;
  if (clusters > INT32_MAX / Config::kCluster) return EVOFLASH_UNSUPPORTED;
  return evoflash::launch(kernel,
                          {unsigned(clusters * Config::kCluster), unsigned(Config::kThreads), Config::kSmemBytes,
                           Config::kCluster, Config::kIsEarly},
                          stream, args);
}

}  // namespace
}  // namespace evoflash::cross_entropy_rows
#endif
