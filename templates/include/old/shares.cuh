/* Partial outputs of the same rows, each over a slice of the keys, become one. */
namespace evoflash {

/* What the slices count in a row, each by the distance of its maximum from the row's. The result is the row's
 * maximum, and its sum over all slices: who wants the row itself divides by that. */
template <int kCount>
__device__ __forceinline__ float2 row_shares(float (&share)[kCount], const float2 *stats, int64_t stride, float scale) {
  float2 stat[kCount];
  float maximum = -INFINITY, total = 0;
#pragma unroll
  for (int slice = 0; slice < kCount; ++slice) {
    stat[slice] = stats[slice * stride];
    maximum = fmaxf(maximum, stat[slice].x);
  }
  const float offset = offset_of(maximum, scale);
#pragma unroll
  for (int slice = 0; slice < kCount; ++slice) {
    share[slice] = exp2_approx(scaled(stat[slice].x, scale) - offset);
{% if half_merge %}
    share[slice] *= stat[slice].y;
    total += share[slice];
{% else %}
    total = fmaf(share[slice], stat[slice].y, total);
{% endif %}
  }
  return make_float2(maximum, total);
}

template <int kCount>
__device__ __forceinline__ void divide(float (&share)[kCount], float total) {
  const float factor = reciprocal(total);
#pragma unroll
  for (int slice = 0; slice < kCount; ++slice) share[slice] *= factor;
}

}  // namespace evoflash
