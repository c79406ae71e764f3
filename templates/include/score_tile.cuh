#pragma once

#include "math.cuh"
#include "pairs.cuh"
#include "score_features.h"

// What is done to the scores of a step before the softmax, where accumulators hold them (softmax.cuh). Rows and keys
// beyond the last read what belongs to the last.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// c tanh(x / c), of y = 2 log2(e) x / c, by two instructions of the special function unit. The error is some 2^-22 of
// c wherever x is, which is what a score may be off by; tanh.approx would be off by 2^-11.
__device__ __forceinline__ float softcap_of_exponent(float y, float c) {
  return fmaf(-2.0f * c, reciprocal(exp2_approx(y) + 1.0f), c);
}

// How elements of a bias (2 bytes) or of a mask (1 byte) are loaded: as integers, and two at once.
template <bool kIsBiased>
struct TermIntegers {
  using Element = unsigned char;
  using Pair = unsigned short;
};
template <>
struct TermIntegers<true> {
  using Element = unsigned short;
  using Pair = unsigned;
};

// The bias or mask of a lane's rows. Of each tile of eight keys a lane has two neighbours, so it takes words of two
// elements where the tensor's rows allow that.
template <class Traits, int kTiles, int kRowsPerLane, bool kIsRead = kReadsScoreTerms<Traits>>
struct ReadTerms {
  __device__ __forceinline__ ReadTerms(const AttentionProblem &, int, int, int) {}
  __device__ __forceinline__ void load(const AttentionProblem &, int) {}
};

template <class Traits, int kTiles, int kRowsPerLane>
struct ReadTerms<Traits, kTiles, kRowsPerLane, true> {
  using Element = typename TermIntegers<Traits::kIsBiased>::Element;
  using Pair = typename TermIntegers<Traits::kIsBiased>::Pair;
  static constexpr int kBits = 8 * sizeof(Element);

  const Element *row[kRowsPerLane];  // at key 0
  bool is_paired;
  unsigned words[kTiles][kRowsPerLane];  // of the lane's two keys of a tile, the first in the lower bits

  __device__ __forceinline__ ReadTerms(const AttentionProblem &problem, int bidb, int bidh, int first_row) {
    const auto &stride = strides(problem);
    const auto *const base = static_cast<const Element *>(tensor(problem));
#pragma unroll
    for (int half = 0; half < kRowsPerLane; ++half)
      row[half] = base + bidb * stride[0] + bidh * stride[1] + min(first_row + half * 8, problem.seq_q - 1) * stride[2];
    const auto odd = (stride[0] | stride[1] | stride[2] | problem.seq_kv) & 1;
    is_paired = stride[3] == 1 && odd == 0 && reinterpret_cast<uint64_t>(base) % sizeof(Pair) == 0;
  }

  // Loads what belongs to the step that begins at an even key.
  __device__ __forceinline__ void load(const AttentionProblem &problem, int first_key) {
    const int lane_key = first_key + threadIdx.x % 4 * 2;
    if (is_paired && first_key + kTiles * 8 <= problem.seq_kv) {
#pragma unroll
      for (int half = 0; half < kRowsPerLane; ++half)
#pragma unroll
        for (int t = 0; t < kTiles; ++t) words[t][half] = *reinterpret_cast<const Pair *>(row[half] + lane_key + t * 8);
    } else {
      const int64_t stride = strides(problem)[3];
      const int last = problem.seq_kv - 1;
#pragma unroll
      for (int half = 0; half < kRowsPerLane; ++half)
#pragma unroll
        for (int t = 0; t < kTiles; ++t) {
          const unsigned low = row[half][min(lane_key + t * 8, last) * stride];
          words[t][half] = row[half][min(lane_key + t * 8 + 1, last) * stride] << kBits | low;
        }
    }
  }

 private:
  __device__ __forceinline__ static const int64_t (&strides(const AttentionProblem &problem))[4] {
    if constexpr (Traits::kIsBiased) {
      return problem.bias_stride;
    } else {
      return problem.mask_stride;
    }
  }
  __device__ __forceinline__ static const void *tensor(const AttentionProblem &problem) {
    if constexpr (Traits::kIsBiased) {
      return problem.bias;
    } else {
      return problem.mask;
    }
  }
};

template <bool kHasSlopes>
struct SlopeTerm {
  __device__ __forceinline__ SlopeTerm(const AttentionProblem &, int, int) {}
};
template <>
struct SlopeTerm<true> {
  float slope;
  int position;  // the key at which the lane's first row stands

  __device__ __forceinline__ SlopeTerm(const AttentionProblem &problem, int bidh, int first_row)
      : slope(problem.slopes[bidh]), position(first_row + problem.diagonal) {}
};

template <class Traits, int kTiles, int kRowsPerLane>
struct ScoreTile : ReadTerms<Traits, kTiles, kRowsPerLane>, SlopeTerm<Traits::kHasSlopes> {
  using Read = ReadTerms<Traits, kTiles, kRowsPerLane>;
  using Element = typename Traits::Element;

  // first_row is the lane's first.
  __device__ __forceinline__ ScoreTile(const AttentionProblem &problem, int bidb, int bidh, int first_row)
      : Read(problem, bidb, bidh, first_row), SlopeTerm<Traits::kHasSlopes>(problem, bidh, first_row) {}

  // Products become scores; load() has come before.
  __device__ __forceinline__ void change(float (&acc_s)[kTiles][4], const AttentionProblem &problem,
                                         int first_key) const {
    float exponent_scale = 0, distance = 0;
    if constexpr (Traits::kIsCapped) exponent_scale = problem.scale * (2 * kLog2E) / problem.softcap;
    if constexpr (Traits::kHasSlopes) distance = float(first_key + int(threadIdx.x) % 4 * 2 - this->position);
#pragma unroll
    for (int t = 0; t < kTiles; ++t)
#pragma unroll
      for (int i = 0; i < 2 * kRowsPerLane; ++i) {
        float &score = acc_s[t][i];
        if constexpr (Traits::kIsCapped) {
          score = softcap_of_exponent(score * exponent_scale, problem.softcap);
          if constexpr (Traits::kIsBiased) score += bias(t, i);
        } else if constexpr (Traits::kIsBiased) {
          score = fmaf(score, problem.scale, bias(t, i));
        } else if constexpr (Traits::kHasSlopes) {
          score *= problem.scale;
        }
        if constexpr (Traits::kHasSlopes)
          score = fmaf(-this->slope, fabsf(distance + float(t * 8 + i % 2 - i / 2 * 8)), score);
        if constexpr (Traits::kIsMasked) score = is_seen(t, i) ? score : -INFINITY;
      }
  }

 private:
  __device__ __forceinline__ float bias(int t, int i) const {
    const unsigned word = this->words[t][i / 2];
    return i % 2 == 0 ? low_to_float<Element>(word) : high_to_float<Element>(word);
  }
  __device__ __forceinline__ bool is_seen(int t, int i) const {
    return (this->words[t][i / 2] & (i % 2 == 0 ? 0xffu : 0xff00u)) != 0;
  }
};

// That of a lane whose first row is given; nothing for a kernel that leaves scores as they are.
struct NoScoreTile {};
template <class Traits, int kTiles, int kRowsPerLane, class Arguments>
__device__ __forceinline__ auto make_score_tile(const Arguments &args, int bidb, int bidh, int first_row) {
  if constexpr (kHasScoreTerms<Traits>) {
    return ScoreTile<Traits, kTiles, kRowsPerLane>(args.problem, bidb, bidh, first_row);
  } else {
    return NoScoreTile();
  }
}

}  // namespace evoflash
#endif
