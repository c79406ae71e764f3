#pragma once

#include "launch.cuh"
#include "linear/problem.cuh"
#include "linear_rows/arguments.cuh"
#include "linear_rows/kernel_traits.cuh"

#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::linear_rows {
namespace {

template <class Traits>
int launch(const FusedLinear &problem, void *stream, Kernel &kernel) {
  if (!linear::is_supported<typename Traits::Element>(problem)) return EVOFLASH_UNSUPPORTED;
  const int64_t m = problem.x.size[0], k = problem.x.size[1], n = problem.weight.size[0];
  const int64_t blocks = (n + Traits::kColumns - 1) / Traits::kColumns * Traits::kCluster;
  const int64_t row_blocks = (m + Traits::kRows - 1) / Traits::kRows;
  // The grid's second dimension ends at 65535; and a step beyond the last term is still an int.
  if (blocks > INT32_MAX || row_blocks > 65535 || k > INT32_MAX - Traits::kAllStepsK) return EVOFLASH_UNSUPPORTED;

  Arguments args{};
  args.x = linear::make_rows(problem.x);
  args.weight = linear::make_rows(problem.weight);
  args.epilogue = linear::make_epilogue_arguments(problem);
  args.m = int(m);
  args.n = int(n);
  args.k = int(k);
  const Shape shape = {{unsigned(blocks), unsigned(row_blocks)},
                       Traits::kNumThreads,
                       Traits::kSmemBytes,
                       Traits::kCluster,
                       Traits::kIsEarly};
  return evoflash::launch(kernel, shape, stream, args);
}

}  // namespace
}  // namespace evoflash::linear_rows
#endif
