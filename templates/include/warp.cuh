#pragma once

// Reductions over kLanes neighbouring lanes of a warp (a power of two). All 32 lanes take part, and each gets the
// result of its group.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

inline constexpr unsigned kAllLanes = 0xffffffffu;

template <int kLanes>
__device__ __forceinline__ float warp_reduce_sum(float value) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

// fmaxf drops a NaN. A softmax may do so: a NaN score's own probability, exp(NaN - maximum), carries it to the row's
// sum.
template <int kLanes>
__device__ __forceinline__ float warp_reduce_max(float value) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}

}  // namespace evoflash
#endif
