/* A step of online softmax (softmax.cuh) in parts, for kernels whose output is still under way when the next scores come. */
namespace evoflash {

/* Raises the maxima if the rows' new ones ask for it. Whether any row of the warp has moved; what was summed up before has then
 * to be multiplied by the corrections, which is done here for the sums. */
__device__ __forceinline__ bool raise_maxima(float (&correction)[kHalves], const float (&maximum)[kHalves], RowState &state, float scale) {
  bool moved = false;
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const float old = state.maximum[half];
{% if rescale_threshold > 0 %}
    const bool moves = scaled(maximum[half] - old, scale) > {{ rescale_threshold }}.0f;
{% else %}
    const bool moves = maximum[half] > old;
{% endif %}
    state.maximum[half] = moves ? maximum[half] : old;
    correction[half] = exp2_approx(scaled(old, scale) - offset_of(state.maximum[half], scale)); /* 1 where it stays */
    state.sum[half] *= correction[half];
    moved |= moves;
  }
  return __any_sync(kAllLanes, moved);
}

/* The same for the scores of a step. */
template <int kTiles>
__device__ __forceinline__ bool advance_maxima(float (&correction)[kHalves], const float (&scores)[kTiles][4], RowState &state, float scale) {
  float maximum[kHalves];
  row_maxima(maximum, scores);
  return raise_maxima(correction, maximum, state, scale);
}

template <int kOutTiles>
__device__ __forceinline__ void rescale(float (&out)[kOutTiles][4], const float (&correction)[kHalves]) {
#pragma unroll
  for (int t = 0; t < kOutTiles; ++t)
#pragma unroll
    for (int i = 0; i < 2 * kHalves; ++i) out[t][i] *= correction[i / 2];
}

}  // namespace evoflash
