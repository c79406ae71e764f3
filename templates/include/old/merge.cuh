/* Partial outputs of slices of the keys, and how they become one.
 *
 * A partial output is kept as it lies in the registers, {{ "eight" if half_merge else "four" }} columns of a row together in a piece of 16 bytes: the pieces of
 * a warp's lanes follow each other, so that neither writing nor reading them meets in a bank. */
namespace evoflash {

constexpr int kPieceBytes = 16;
constexpr int kPieceTiles = {{ 4 if half_merge else 2 }};              /* of 8 columns, two of them the lane's own */
constexpr int kRowPieces = kHeadDim / 8 / kPieceTiles; /* of a lane */

{% if half_merge %}
/* The lane's columns of a row in halves, divided by the row's sum: so they stay within the values' range. */
template <int kOutTiles>
__device__ __forceinline__ uint4 piece_of(const float (&out)[kOutTiles][4], int piece, int half, float factor) {
  unsigned words[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) words[i] = pack(out[4 * piece + i][2 * half] * factor, out[4 * piece + i][2 * half + 1] * factor);
  return make_uint4(words[0], words[1], words[2], words[3]);
}

/* sums += share piece. */
__device__ __forceinline__ void add_piece(float (&sums)[kPieceTiles][2], const unsigned char *piece, float share) {
  const Elements<8> part = load<8>(reinterpret_cast<const Element *>(piece));
#pragma unroll
  for (int i = 0; i < 8; ++i) sums[i / 2][i % 2] = fmaf(to_float(part.at[i]), share, sums[i / 2][i % 2]);
}
{% else %}
/* The lane's columns of a row as they are. */
template <int kOutTiles>
__device__ __forceinline__ uint4 piece_of(const float (&out)[kOutTiles][4], int piece, int half) {
  const auto &left = out[2 * piece], &right = out[2 * piece + 1];
  return make_uint4(__float_as_uint(left[2 * half]), __float_as_uint(left[2 * half + 1]), __float_as_uint(right[2 * half]), __float_as_uint(right[2 * half + 1]));
}

/* sums += share piece. */
__device__ __forceinline__ void add_piece(float (&sums)[kPieceTiles][2], const unsigned char *piece, float share) {
  const float4 part = *reinterpret_cast<const float4 *>(piece);
  sums[0][0] = fmaf(part.x, share, sums[0][0]);
  sums[0][1] = fmaf(part.y, share, sums[0][1]);
  sums[1][0] = fmaf(part.z, share, sums[1][0]);
  sums[1][1] = fmaf(part.w, share, sums[1][1]);
}
{% endif %}

}  // namespace evoflash
