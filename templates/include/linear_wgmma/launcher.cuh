#pragma once

#include "launch.cuh"
#include "linear/partials.cuh"
#include "linear/problem.cuh"
#include "linear/raster.cuh"
#include "linear_wgmma/arguments.cuh"

#ifndef EVOFLASH_DEVICE_ONLY
namespace evoflash::linear_wgmma {
namespace {

template <class Traits>
int encode_tensor_maps(Arguments &args, const FusedLinear &problem) {
  if (int error = encode_matrix_map(&args.x, problem.x, Traits::kXBoxRows)) return error;
  if (int error = encode_matrix_map(&args.weight, problem.weight, Traits::kWeightBoxRows)) return error;
  if constexpr (Traits::kIsSplitK) return 0;
  if (int error = encode_matrix_map(&args.residual, problem.residual, 64)) return error;
  return encode_matrix_map(&args.out, problem.out, 64);
}

template <class Traits>
int launch(const FusedLinear &problem, void *stream, const linear::Kernels &kernels) {
  if (!linear::is_supported<typename Traits::Element>(problem)) return EVOFLASH_UNSUPPORTED;
  const int64_t m = problem.x.size[0], k = problem.x.size[1], n = problem.weight.size[0];
  if (m == 0 || n == 0) return 0;
  constexpr int64_t kTileM = Traits::kBlockM * Traits::kClusterM, kTileN = Traits::kBlockN * Traits::kClusterN;
  const int64_t m_tiles = (m + kTileM - 1) / kTileM, n_tiles = (n + kTileN - 1) / kTileN;
  const int64_t units = m_tiles * n_tiles * Traits::kNumSplits;
  if (units > INT32_MAX / 2 / Traits::kCluster || m_tiles > linear::kMostTiles || n_tiles > linear::kMostTiles)
    return EVOFLASH_UNSUPPORTED;
  const int64_t k_blocks = (k + Traits::kBlockK - 1) / Traits::kBlockK;
  if (k_blocks < Traits::kNumSplits) return EVOFLASH_UNSUPPORTED;  // each part has a block of the sum
  if (Traits::kIsSplitK && !linear::can_merge(problem)) return EVOFLASH_UNSUPPORTED;

  Arguments args{};
  if (int error = encode_tensor_maps<Traits>(args, problem)) return error;
  args.bias = static_cast<const unsigned char *>(problem.bias.data);
  args.partials = static_cast<float *>(problem.workspace);
  args.m = int(m);
  args.n = int(n);
  args.k_blocks = int(k_blocks);
  args.m_tiles = int(m_tiles);
  args.n_tiles = int(n_tiles);
  args.units = int(units);

  int64_t clusters = units;
  if constexpr (Traits::kIsPersistent) clusters = clusters < Traits::kResident ? clusters : Traits::kResident;
  const Shape shape = {unsigned(clusters) * Traits::kCluster, Traits::kNumThreads, Traits::kSmemBytes, Traits::kCluster,
                       Traits::kIsEarly};
  if (int error = evoflash::launch(*kernels.multiply, shape, stream, args)) return error;
  if constexpr (Traits::kIsSplitK) return linear::launch_merge(*kernels.merge, problem, Traits::kIsEarly, stream);
  return 0;
}

}  // namespace
}  // namespace evoflash::linear_wgmma
#endif
