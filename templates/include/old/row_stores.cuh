{% set inside_parameter = "" if exact_rows else ", bool inside" %}
{% set if_inside = "" if exact_rows else "if (inside) " %}
/* Rows of the output from accumulators: of each tile of 8 columns the four lanes of a row have two each, lane c columns 2c and
 * 2c + 1. */
namespace evoflash {

{% if float_rows | default(false) %}
/* As they are, in floats: the four lanes fill a sector of memory. */
constexpr int kOutTileBytes = 32;

template <int kTiles>
__device__ __forceinline__ void store_row(unsigned char *row, const float (&columns)[kTiles][2]{{ inside_parameter }}) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
    {{ if_inside }}*reinterpret_cast<float2 *>(row + t * kOutTileBytes + threadIdx.x % 4 * 8) = make_float2(columns[t][0], columns[t][1]);
}
{% elif store_bytes == 4 %}
/* Each lane stores its own columns, 4 bytes at a time. */
constexpr int kOutTileBytes = 16;

template <int kTiles>
__device__ __forceinline__ void store_row(unsigned char *row, const float (&columns)[kTiles][2]{{ inside_parameter }}) {
#pragma unroll
  for (int t = 0; t < kTiles; ++t)
    {{ if_inside }}*reinterpret_cast<unsigned *>(row + t * kOutTileBytes + threadIdx.x % 4 * 4) = pack(columns[t][0], columns[t][1]);
}
{% elif store_bytes == 8 %}
/* Of two tiles a lane has the words of columns 2c and 8 + 2c. Swaps with its neighbour leave each lane with four columns side by
 * side, from 4 (c / 2) + 8 (c % 2) on, to be stored together: the four fill a sector of memory. */
constexpr int kOutTileBytes = 16;

template <int kTiles>
__device__ __forceinline__ void store_row(unsigned char *row, const float (&columns)[kTiles][2]{{ inside_parameter }}) {
  const bool odd = threadIdx.x % 2;
  const int column = threadIdx.x % 4 / 2 * 4 + threadIdx.x % 2 * 8;
#pragma unroll
  for (int t = 0; t < kTiles; t += 2) {
    const unsigned left = pack(columns[t][0], columns[t][1]), right = pack(columns[t + 1][0], columns[t + 1][1]);
    const unsigned swapped = __shfl_xor_sync(kAllLanes, odd ? left : right, 1);
    {{ if_inside }}*reinterpret_cast<uint2 *>(row + t * kOutTileBytes + 2 * column) = odd ? make_uint2(swapped, right) : make_uint2(left, swapped);
  }
}
{% else %}
/* Of four tiles a lane has a word each. Swaps with its neighbour, then between pairs of lanes, leave lane c with the whole row of
 * tile c: 16 bytes. */
constexpr int kOutTileBytes = 16;

template <int kTiles>
__device__ __forceinline__ void store_row(unsigned char *row, const float (&columns)[kTiles][2]{{ inside_parameter }}) {
  const bool odd = threadIdx.x % 2, upper = threadIdx.x / 2 % 2;
#pragma unroll
  for (int t = 0; t < kTiles; t += 4) {
    unsigned word[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) word[i] = pack(columns[t + i][0], columns[t + i][1]);

    unsigned pair[2][2]; /* of tiles c % 2 and c % 2 + 2: the words of this lane and its neighbour */
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const unsigned swapped = __shfl_xor_sync(kAllLanes, odd ? word[2 * i] : word[2 * i + 1], 1);
      pair[i][0] = odd ? swapped : word[2 * i];
      pair[i][1] = odd ? word[2 * i + 1] : swapped;
    }
    unsigned other[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) other[i] = __shfl_xor_sync(kAllLanes, upper ? pair[0][i] : pair[1][i], 2);
    {{ if_inside }}*reinterpret_cast<uint4 *>(row + (t + threadIdx.x % 4) * kOutTileBytes) =
        upper ? make_uint4(other[0], other[1], pair[1][0], pair[1][1]) : make_uint4(pair[0][0], pair[0][1], other[0], other[1]);
  }
}
{% endif %}

}  // namespace evoflash
