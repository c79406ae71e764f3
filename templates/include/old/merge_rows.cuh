{% set seq_q = seq_q | default("problem.seq_q") %}
/* Merges the rows of partials.cuh. */
extern "C" __global__ void __launch_bounds__(kMergeThreads) merge_kernel(const __grid_constant__ Arguments problem) {
  const int item = blockIdx.x * kMergeThreads + threadIdx.x, row = item / kRowUnits, unit = item % kRowUnits;
  if (row >= {{ seq_q }}) return;
  const Partials &partials = problem.partials;
  const int64_t from = (int64_t(blockIdx.z) * gridDim.y + blockIdx.y) * {{ seq_q }} + row;
  float share[kSplit];
  const float2 total = row_shares(share, reinterpret_cast<const float2 *>(partials.stats) + from, partials.count, problem.scale);
  divide(share, total.y);
  float result[8] = {};
#pragma unroll
  for (int part = 0; part < kSplit; ++part) {
    const unsigned char *own = partials.rows + (part * partials.count + from) * kPartialRowBytes + unit * (kPartialRowBytes / kRowUnits);
{% if half_merge %}
    const Elements<8> values = load<8>(reinterpret_cast<const Element *>(own));
#pragma unroll
    for (int i = 0; i < 8; ++i) result[i] = fmaf(to_float(values.at[i]), share[part], result[i]);
{% else %}
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const float4 four = reinterpret_cast<const float4 *>(own)[i];
      result[4 * i] = fmaf(four.x, share[part], result[4 * i]);
      result[4 * i + 1] = fmaf(four.y, share[part], result[4 * i + 1]);
      result[4 * i + 2] = fmaf(four.z, share[part], result[4 * i + 2]);
      result[4 * i + 3] = fmaf(four.w, share[part], result[4 * i + 3]);
    }
{% endif %}
  }
  store_8(row_of(problem.out, blockIdx.z, blockIdx.y, row) + unit * 16, result);
}
