#pragma once

#include "cluster.cuh"
#include "numeric_types.cuh"
#include "pairs.cuh"
#include "split_scales.cuh"
#include "static_for.cuh"

// Partial outputs of the blocks of a cluster, merged by columns: each block owns 1 / kNumSplits of the columns of all
// rows, and the last ones less where the columns do not divide. Of the others' columns, a lane sends what it has to the
// same lane of the block that owns them, which holds the same columns of the same rows.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// kRowsPerLane is 2, or 1 where the lower eight rows of each accumulator are empty. kSenderBytes is the distance
// between the places of two senders in shared memory.
template <class ElementPartial, int kHeadDim, int kNumSplits, int kNumThreads, int kRowsPerLane>
struct ColumnExchange {
  static constexpr int kRowTiles = kHeadDim / 8;                               // of 8 columns
  static constexpr int kOwnTiles = (kRowTiles + kNumSplits - 1) / kNumSplits;  // places for a block's
  static constexpr int kUsedWords = kRowsPerLane * kOwnTiles * int(sizeof(ElementPartial)) / 2;
  static constexpr int kLaneWords = (kUsedWords + 3) / 4 * 4;      // of 16 rows, sent four at a time
  static constexpr int kTileBytes = kNumThreads * kLaneWords * 4;  // of 16 rows a warp, from a block to another

  // How many tiles a block owns.
  __device__ __forceinline__ static int tiles_of(int rank) {
    return kRowTiles % kNumSplits == 0 ? kOwnTiles : min(kOwnTiles, kRowTiles - rank * kOwnTiles);
  }

  // A block's place among those that send to block `to`.
  __device__ __forceinline__ static int sender_of(int rank, int to) { return rank < to ? rank : rank - 1; }

  // The tile in a block's place; the last one for places beyond it, whose contents nobody reads.
  __device__ __forceinline__ static constexpr int tile_in(int block, int place) {
    const int tile = block * kOwnTiles + place;
    return tile < kRowTiles ? tile : kRowTiles - 1;
  }

  // A lane's part of the columns that block kBlock owns.
  template <int kBlock, int kOutTiles>
  __device__ __forceinline__ static void words_of(unsigned (&words)[kLaneWords], const float (&acc_o)[kOutTiles][4],
                                                  const float (&factor)[kRowsPerLane]) {
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half)
#pragma unroll
      for (int t = 0; t < kOwnTiles; ++t) {
        const auto &tile = acc_o[tile_in(kBlock, t)];
        if constexpr (kIsNormalized<ElementPartial>) {
          words[half * kOwnTiles + t] =
              pack<ElementPartial>(tile[2 * half] * factor[half], tile[2 * half + 1] * factor[half]);
        } else {
          words[(half * kOwnTiles + t) * 2] = __float_as_uint(tile[2 * half]);
          words[(half * kOwnTiles + t) * 2 + 1] = __float_as_uint(tile[2 * half + 1]);
        }
      }
  }

  // acc += scale * words, for one row.
  __device__ __forceinline__ static void add(float (&acc)[kOwnTiles][2], const unsigned (&words)[kLaneWords], int half,
                                             float scale) {
#pragma unroll
    for (int t = 0; t < kOwnTiles; ++t) {
      if constexpr (kIsNormalized<ElementPartial>) {
        const unsigned word = words[half * kOwnTiles + t];
        acc[t][0] = fmaf(low_to_float<ElementPartial>(word), scale, acc[t][0]);
        acc[t][1] = fmaf(high_to_float<ElementPartial>(word), scale, acc[t][1]);
      } else {
        acc[t][0] = fmaf(__uint_as_float(words[(half * kOwnTiles + t) * 2]), scale, acc[t][0]);
        acc[t][1] = fmaf(__uint_as_float(words[(half * kOwnTiles + t) * 2 + 1]), scale, acc[t][1]);
      }
    }
  }

  // Sends each other block its columns of 16 rows a warp. `partials` is where the first sender's lie in the receiver's
  // shared memory, `barrier` the mbarrier there on which the bytes complete. Where partial outputs are normalised,
  // `factor` holds the inverses of the rows' sums; otherwise it is not used.
  template <int kSenderBytes, int kOutTiles>
  __device__ __forceinline__ static void send(const float (&acc_o)[kOutTiles][4], const float (&factor)[kRowsPerLane],
                                              int rank, unsigned partials, unsigned barrier) {
    static_for<kNumSplits>([&](auto block) {
      if (block.value == rank) return;
      unsigned words[kLaneWords] = {};
      words_of<block.value>(words, acc_o, factor);
      const unsigned own_place = partials + sender_of(rank, block.value) * kSenderBytes + threadIdx.x * 16;
      const unsigned to = remote_address(own_place, block.value), remote_barrier = remote_address(barrier, block.value);
#pragma unroll
      for (int i = 0; i < kLaneWords; i += 4)
        store_remote(to + i * (kNumThreads * 4), make_uint4(words[i], words[i + 1], words[i + 2], words[i + 3]),
                     remote_barrier);
    });
  }

  // What the partial outputs count in a row, over the sum of all: this block's, and those of the senders. `own` is this
  // block's (offset, row_sum); `stats` points to the first sender's, and `stride` leads to the next sender's. The
  // result is the row's (offset, row_sum) over all blocks.
  template <bool kMayBeBlind = false>
  __device__ __forceinline__ static float2 scales(float &own_scale, float (&scale)[kNumSplits - 1], float2 own,
                                                  const float2 *stats, int stride) {
    float2 stat[kNumSplits - 1];
    float offset = own.x;
#pragma unroll
    for (int i = 0; i < kNumSplits - 1; ++i) {
      stat[i] = stats[i * stride];
      offset = fmaxf(offset, stat[i].x);
    }
    own_scale = exp2_approx(own.x - offset);
    float row_sum = own_scale * own.y;
#pragma unroll
    for (int i = 0; i < kNumSplits - 1; ++i) {
      scale[i] = exp2_approx(stat[i].x - offset);
      row_sum = fmaf(scale[i], stat[i].y, row_sum);
      if constexpr (kIsNormalized<ElementPartial>) scale[i] *= stat[i].y;
    }
    const float inverse = inverse_total<kMayBeBlind>(row_sum);
    own_scale *= inverse;
#pragma unroll
    for (int i = 0; i < kNumSplits - 1; ++i) scale[i] *= inverse;
    return make_float2(offset, row_sum);
  }

  // The block's own columns, with what the others have sent.
  template <int kSenderBytes, int kOutTiles>
  __device__ __forceinline__ static void merge(float (&result)[kRowsPerLane][kOwnTiles][2],
                                               const float (&acc_o)[kOutTiles][4],
                                               const float (&own_scale)[kRowsPerLane],
                                               const float (&scale)[kRowsPerLane][kNumSplits - 1], int rank,
                                               const unsigned char *partials) {
    static_for<kNumSplits>([&](auto block) {
      if (block.value == rank)
#pragma unroll
        for (int half = 0; half < kRowsPerLane; ++half)
#pragma unroll
          for (int t = 0; t < kOwnTiles; ++t)
#pragma unroll
            for (int i = 0; i < 2; ++i)
              result[half][t][i] = acc_o[tile_in(block.value, t)][2 * half + i] * own_scale[half];
    });
#pragma unroll
    for (int sender = 0; sender < kNumSplits - 1; ++sender) {
      unsigned words[kLaneWords];
#pragma unroll
      for (int i = 0; i < kLaneWords; i += 4) {
        const uint4 four = *reinterpret_cast<const uint4 *>(partials + sender * kSenderBytes +
                                                            (i * kNumThreads / 4 + threadIdx.x) * 16);
        words[i] = four.x, words[i + 1] = four.y, words[i + 2] = four.z, words[i + 3] = four.w;
      }
#pragma unroll
      for (int half = 0; half < kRowsPerLane; ++half) add(result[half], words, half, scale[half][sender]);
    }
  }
};

}  // namespace evoflash
#endif
