#pragma once

#include "linear_rows/epilogue.cuh"
#include "linear_rows/mainloop.cuh"
#include "programmatic_launch.cuh"

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::linear_rows {

// The kernel: the blocks of a cluster, and their warps, share the sums of the same columns.
template <class Traits>
__device__ __forceinline__ void compute_rows(unsigned char *smem, const Arguments &args) {
  if constexpr (Traits::kIsEarly) {
    wait_for_prerequisites();  // the kernel ahead may write what this one reads
    launch_dependents();
  }
  const int rank = blockIdx.x % Traits::kCluster;
  const int column = blockIdx.x / Traits::kCluster * Traits::kColumns, row = blockIdx.y * Traits::kRows;
  const Epilogue<Traits> epilogue(args, row, column, rank);
  float acc[Traits::kTilesN][Traits::kTilesM][4] = {};
  const int warp = rank * Traits::kNumWarps + threadIdx.x / 32;
  multiply<Traits>(acc, args, row, column, warp * Traits::kStepK);
  epilogue.store(reinterpret_cast<float *>(smem), acc);
}

}  // namespace evoflash::linear_rows
#endif
