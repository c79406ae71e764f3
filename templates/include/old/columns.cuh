/* Partial outputs of the blocks of a cluster, merged by columns: each block owns some. Of the others' columns a lane sends what it
 * has, in words of {{ "two halves" if half_merge else "a float" }}, to the same lane of the block that owns them: it has the same columns of the same rows. */
namespace evoflash {

constexpr int kOwnedTiles = kHeadDim / 8 / kSplit;                 /* of 8 columns */
constexpr int kLaneWords = kHalves * kOwnedTiles{{ ";    " if half_merge else " * 2;" }}             /* of one tile of the warp's rows */
constexpr int kSentTileBytes = kThreads * kLaneWords * 4;          /* of these tiles, from a block to another */

/* A block's place among those that send to another. */
__device__ __forceinline__ int sender_of(int rank, int to) { return rank < to ? rank : rank - 1; }

/* What a lane has of a block's columns{{ ", divided by the rows' sums: so it stays within the values' range" if half_merge }}. */
template <int kBlock, int kOutTiles>
__device__ __forceinline__ void words_of(unsigned (&words)[kLaneWords], const float (&out)[kOutTiles][4]{{ ", const float (&factor)[kHalves]" if half_merge }}) {
#pragma unroll
  for (int half = 0; half < kHalves; ++half)
#pragma unroll
    for (int t = 0; t < kOwnedTiles; ++t) {
      const auto &sums = out[kBlock * kOwnedTiles + t];
{% if half_merge %}
      words[half * kOwnedTiles + t] = pack(sums[2 * half] * factor[half], sums[2 * half + 1] * factor[half]);
{% else %}
      words[(half * kOwnedTiles + t) * 2] = __float_as_uint(sums[2 * half]);
      words[(half * kOwnedTiles + t) * 2 + 1] = __float_as_uint(sums[2 * half + 1]);
{% endif %}
    }
}

/* result += share * words, for one row. */
__device__ __forceinline__ void add_words(float (&result)[kOwnedTiles][2], const unsigned (&words)[kLaneWords], int half, float share) {
#pragma unroll
  for (int t = 0; t < kOwnedTiles; ++t) {
{% if half_merge %}
    const unsigned word = words[half * kOwnedTiles + t];
    result[t][0] = fmaf(to_float(Element(word)), share, result[t][0]);
    result[t][1] = fmaf(to_float(Element(word >> 16)), share, result[t][1]);
{% else %}
    result[t][0] = fmaf(__uint_as_float(words[(half * kOwnedTiles + t) * 2]), share, result[t][0]);
    result[t][1] = fmaf(__uint_as_float(words[(half * kOwnedTiles + t) * 2 + 1]), share, result[t][1]);
{% endif %}
  }
}

/* To each other block its columns. A sender's lie kSenderBytes after the one's before. */
template <int kSenderBytes, int kOutTiles>
__device__ __forceinline__ void send_columns(const float (&out)[kOutTiles][4]{{ ", const float (&factor)[kHalves]" if half_merge }}, int rank, unsigned partials, unsigned barrier) {
  unrolled<kSplit>([&](auto block) {
    if (block.value == rank) return;
    unsigned words[kLaneWords];
    words_of<block.value>(words, out{{ ", factor" if half_merge }});
    const unsigned to = remote_address(partials + sender_of(rank, block.value) * kSenderBytes + threadIdx.x * 16, block.value), remote_barrier = remote_address(barrier, block.value);
#pragma unroll
    for (int i = 0; i < kLaneWords; i += 4) store_remote(to + i * (kThreads * 4), make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]), remote_barrier);
  });
}

/* What partial outputs count in a row, over the sum of all: this block's, and those that the others send. */
__device__ __forceinline__ void column_shares(float &own_share, float (&share)[kSplit - 1], float2 own, const float2 *stats, int stride, float scale) {
  float2 stat[kSplit - 1];
  float maximum = own.x;
#pragma unroll
  for (int i = 0; i < kSplit - 1; ++i) {
    stat[i] = stats[i * stride];
    maximum = fmaxf(maximum, stat[i].x);
  }
  const float offset = offset_of(maximum, scale);
  own_share = exp2_approx(scaled(own.x, scale) - offset);
  float total = own_share * own.y;
#pragma unroll
  for (int i = 0; i < kSplit - 1; ++i) {
    share[i] = exp2_approx(scaled(stat[i].x, scale) - offset);
    total = fmaf(share[i], stat[i].y, total);
{% if half_merge %}
    share[i] *= stat[i].y;
{% endif %}
  }
  const float inverse = reciprocal(total);
  own_share *= inverse;
#pragma unroll
  for (int i = 0; i < kSplit - 1; ++i) share[i] *= inverse;
}

/* The block's own columns, with what the others sent. */
template <int kSenderBytes, int kOutTiles>
__device__ __forceinline__ void merge_columns(float (&result)[kHalves][kOwnedTiles][2], const float (&out)[kOutTiles][4], const float (&own_share)[kHalves], const float (&share)[kHalves][kSplit - 1], int rank,
                                              const unsigned char *partials) {
  unrolled<kSplit>([&](auto block) {
    if (block.value == rank)
#pragma unroll
      for (int half = 0; half < kHalves; ++half)
#pragma unroll
        for (int t = 0; t < kOwnedTiles; ++t)
#pragma unroll
          for (int i = 0; i < 2; ++i) result[half][t][i] = out[block.value * kOwnedTiles + t][2 * half + i] * own_share[half];
  });
#pragma unroll
  for (int other = 0; other < kSplit - 1; ++other) {
    unsigned words[kLaneWords];
#pragma unroll
    for (int i = 0; i < kLaneWords; i += 4) {
      const uint4 four = *reinterpret_cast<const uint4 *>(partials + other * kSenderBytes + (i * kThreads / 4 + threadIdx.x) * 16);
      words[i] = four.x, words[i + 1] = four.y, words[i + 2] = four.z, words[i + 3] = four.w;
    }
#pragma unroll
    for (int half = 0; half < kHalves; ++half) add_words(result[half], words, half, share[half][other]);
  }
}

}  // namespace evoflash
