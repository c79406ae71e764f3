#pragma once

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Hides keys from rows: row `half` of a lane sees those below visible[half]. acc_s are accumulators as in softmax.cuh;
// first_key is the key of the first tile's first column.
template <int kTiles, int kRowsPerLane>
__device__ __forceinline__ void apply_mask(float (&acc_s)[kTiles][4], const int (&visible)[kRowsPerLane],
                                           int first_key) {
  const int lane_key = first_key + threadIdx.x % 4 * 2;
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 2 * kRowsPerLane; ++i)
      if (lane_key + t * 8 + i % 2 >= visible[i / 2]) acc_s[t][i] = -INFINITY;
}

// Hides keys from rows: row `half` of a lane sees those from first[half] on.
template <int kTiles, int kRowsPerLane>
__device__ __forceinline__ void hide_keys_before(float (&acc_s)[kTiles][4], const int (&first)[kRowsPerLane],
                                                 int first_key) {
  const int lane_key = first_key + threadIdx.x % 4 * 2;
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 2 * kRowsPerLane; ++i)
      if (lane_key + t * 8 + i % 2 < first[i / 2]) acc_s[t][i] = -INFINITY;
}

}  // namespace evoflash
#endif
