{% set row_halves = row_halves | default(2) %}
/* Softmax on accumulators, 16 rows by tiles of 8 columns as mma.sync and wgmma leave them: of each tile, lane 4 g + c holds
 * columns 2c and 2c + 1 of row g in elements 0 and 1, and of row g + 8 in elements 2 and 3{% if row_halves == 1 %}; here rows g + 8 are
 * empty{% endif %}. */
namespace evoflash {

constexpr int kHalves = {{ row_halves }}; /* rows of a lane */

/* What a lane knows of {{ "its row" if row_halves == 1 else "its two rows" }}. */
struct RowState {
  float maximum[kHalves] = { {{- "-INFINITY" if row_halves == 1 else "-INFINITY, -INFINITY" -}} }; /* of the unscaled scores{{ "; may lag behind by what the threshold allows" if rescale_threshold > 0 }} */
  float sum[kHalves] = {};                     /* of this lane's weights */
};

/* Kept from fusing with the subtraction that follows: an unmoved maximum has to cancel exactly. */
__device__ __forceinline__ float scaled(float maximum, float scale) { return __fmul_rn(maximum, scale); }

/* What a row's exponents are measured from. A row that has seen no key yet has a maximum of -inf; measuring from 0 instead
 * keeps (-inf) - (-inf) away. */
__device__ __forceinline__ float offset_of(float maximum, float scale) { return maximum == -INFINITY ? 0.0f : scaled(maximum, scale); }
{% if polynomial > 0 %}

/* {{ polynomial }} of 16 neighbouring elements by the polynomial, evenly spread: it and the special function unit work side by side. */
__device__ __forceinline__ float weight_of(float x, int element) {
  return element * {{ polynomial }} % 16 < {{ polynomial }} ? exp2_polynomial(x) : exp2_approx(x);
}
{% endif %}

/* Hides the columns from `visible` on, {{ "the row's" if row_halves == 1 else "each lane's first row's and second row's" }}; `column` is the first tile's first. */
template <int kTiles>
__device__ __forceinline__ void hide(float (&scores)[kTiles][4], const int (&visible)[kHalves], int column) {
  const int own = column + threadIdx.x % 4 * 2;
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 2 * kHalves; ++i)
      if (own + t * 8 + i % 2 >= visible[i / 2]) scores[t][i] = -INFINITY;
}

/* The largest score of each of the lane's two rows, or the maximum if that is larger. */
template <int kTiles>
__device__ __forceinline__ void lane_maxima(float (&maximum)[kHalves], const float (&scores)[kTiles][4]) {
#pragma unroll
  for (int half = 0; half < kHalves; ++half)
#pragma unroll
    for (int t = 0; t < kTiles; ++t) maximum[half] = fmaxf(maximum[half], fmaxf(scores[t][2 * half], scores[t][2 * half + 1]));
}

/* The largest score of the two rows, over the four lanes that share them. */
template <int kTiles>
__device__ __forceinline__ void row_maxima(float (&maximum)[kHalves], const float (&scores)[kTiles][4]) {
#pragma unroll
  for (int half = 0; half < kHalves; ++half) maximum[half] = -INFINITY;
  lane_maxima(maximum, scores);
#pragma unroll
  for (int half = 0; half < kHalves; ++half) maximum[half] = lanes_max<4>(maximum[half]);
}

/* Scores become weights, 2^(scale * (score - maximum)), and are summed up. */
template <int kTiles>
__device__ __forceinline__ void weigh(float (&scores)[kTiles][4], RowState &state, float scale) {
  float offset[kHalves];
#pragma unroll
  for (int half = 0; half < kHalves; ++half) offset[half] = offset_of(state.maximum[half], scale);
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
#pragma unroll
    for (int i = 0; i < 2 * kHalves; ++i) {
      const float x = fmaf(scores[t][i], scale, -offset[i / 2]);
      scores[t][i] = {{ "weight_of(x, t * 4 + i)" if polynomial > 0 else "exp2_approx(x)" }};
      state.sum[i / 2] += scores[t][i];
    }
}
{% if online %}

/* A step of online softmax: moves the maxima if the scores ask for it, rescaling what was summed up before, and weighs. */
template <int kTiles, int kOutTiles>
__device__ __forceinline__ void softmax_step(float (&scores)[kTiles][4], RowState &state, float (&out)[kOutTiles][4], float scale, bool first) {
  float maximum[kHalves], correction[kHalves];
  row_maxima(maximum, scores);
  bool moved = false;
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
    const float old = state.maximum[half];
{% if rescale_threshold > 0 %}
    /* A maximum may stay behind by a factor of 2^{{ rescale_threshold }} in the weights, which neither a half nor a float minds. */
    const bool moves = scaled(maximum[half] - old, scale) > {{ rescale_threshold }}.0f;
{% else %}
    const bool moves = maximum[half] > old;
{% endif %}
    if (moves) state.maximum[half] = maximum[half];
    correction[half] = moves ? exp2_approx(scaled(old, scale) - offset_of(maximum[half], scale)) : 1.0f;
    moved |= moves;
  }
  if (!first && __any_sync(kAllLanes, moved)) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) state.sum[half] *= correction[half];
#pragma unroll
    for (int t = 0; t < kOutTiles; ++t)
#pragma unroll
      for (int i = 0; i < 2 * kHalves; ++i) out[t][i] *= correction[i / 2];
  }
  weigh(scores, state, scale);
}
{% else %}

/* All scores of the rows at once: nothing to rescale. */
template <int kTiles>
__device__ __forceinline__ void softmax(float (&scores)[kTiles][4], RowState &state, float scale) {
  row_maxima(state.maximum, scores);
  weigh(scores, state, scale);
}
{% endif %}

}  // namespace evoflash
