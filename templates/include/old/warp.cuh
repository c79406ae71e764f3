/* Reductions over kLanes neighbouring lanes of a warp (a power of two). All 32 lanes take part; each gets the result. */
namespace evoflash {

constexpr unsigned kAllLanes = 0xffffffffu;

template <int kLanes>
__device__ __forceinline__ float lanes_sum(float value) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

/* fmaxf drops a NaN, and may: the weight of the NaN score itself, exp(NaN - maximum), brings it to the row's sum. */
template <int kLanes>
__device__ __forceinline__ float lanes_max(float value) {
#pragma unroll
  for (int distance = kLanes / 2; distance > 0; distance /= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  return value;
}

}  // namespace evoflash
