#pragma once

#include "launch.cuh"
#include "linear/partials.cuh"
#include "linear/problem.cuh"
#include "linear_mma/arguments.cuh"
#include "linear_mma/kernel_traits.cuh"

#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::linear_mma {
namespace {

template <class Traits>
int launch(const FusedLinear &problem, void *stream, const linear::Kernels &kernels) {
  if (!linear::is_supported<typename Traits::Element>(problem)) return EVOFLASH_UNSUPPORTED;
  const int64_t m = problem.x.size[0], k = problem.x.size[1], n = problem.weight.size[0];
  if (m == 0 || n == 0) return 0;
  const int64_t m_tiles = (m + Traits::kBlockM - 1) / Traits::kBlockM;
  const int64_t n_tiles = (n + Traits::kBlockN - 1) / Traits::kBlockN;
  const int64_t blocks = m_tiles * n_tiles * Traits::kNumSplits;
  if (blocks > INT32_MAX || m_tiles > linear::kMostTiles || n_tiles > linear::kMostTiles) return EVOFLASH_UNSUPPORTED;
  if (Traits::kHasPartials && !linear::can_merge(problem)) return EVOFLASH_UNSUPPORTED;

  Arguments args{};
  args.x = linear::make_rows(problem.x);
  args.weight = linear::make_rows(problem.weight);
  args.epilogue = linear::make_epilogue_arguments(problem);
  args.partials = static_cast<float *>(problem.workspace);
  args.m = int(m);
  args.n = int(n);
  args.k = int(k);
  args.k_blocks = int((k + Traits::kBlockK - 1) / Traits::kBlockK);
  args.m_tiles = int(m_tiles);
  args.n_tiles = int(n_tiles);

  const Shape shape = {unsigned(blocks), Traits::kNumThreads, Traits::kSmemBytes, Traits::kCluster, Traits::kIsEarly};
  if (int error = evoflash::launch(*kernels.multiply, shape, stream, args)) return error;
  if constexpr (Traits::kHasPartials) return linear::launch_merge(*kernels.merge, problem, Traits::kIsEarly, stream);
  return 0;
}

}  // namespace
}  // namespace evoflash::linear_mma
#endif
