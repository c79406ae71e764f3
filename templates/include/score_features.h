#pragma once

#include "attention_problem.h"

#ifdef __CUDACC__
#define EVOFLASH_ANYWHERE __host__ __device__ __forceinline__
#else
#define EVOFLASH_ANYWHERE inline
#endif

// What a kernel may be rendered for beyond a plain problem: of the mask, and of what is done to scores.
namespace evoflash {

// A Config starts from these, and overrides those that it has.
struct NoFeatures {
  static constexpr bool kIsBanded = false;     // rows see a window, or their diagonal is not the matrix's
  static constexpr bool kIsCapped = false;     // scores are soft-capped
  static constexpr bool kIsBiased = false;     // a tensor is added to scores
  static constexpr bool kIsMasked = false;     // a boolean tensor hides keys
  static constexpr bool kHasSlopes = false;    // ALiBi
  static constexpr bool kHasSinks = false;     // a further logit of each head
  static constexpr bool kHasLengths = false;   // sequences have numbers of keys of their own
  static constexpr bool kIsPacked = false;     // sequences lie one after another
  static constexpr int kPageSize = 0;          // keys of a page, where keys and values are paged
  static constexpr bool kIsQuantized = false;  // keys and values have 8 bits, and each key-value head scales for them
  static constexpr bool kStoresLse = false;    // the log-sum-exp of rows is a second output
};

// Whether scores have to be known in full, times the scale, before the softmax.
template <class Config>
constexpr bool kHasFullScores = Config::kIsCapped || Config::kIsBiased || Config::kHasSlopes;

// Whether anything is done to scores before the softmax.
template <class Config>
constexpr bool kHasScoreTerms = kHasFullScores<Config> || Config::kIsMasked;

// Whether a tensor is read for it.
template <class Config>
constexpr bool kReadsScoreTerms = Config::kIsBiased || Config::kIsMasked;

template <class Config>
constexpr bool kHasFeatures = Config::kIsBanded || Config::kHasSinks || Config::kIsPacked || kHasScoreTerms<Config>;

// Of a kernel's arguments: the problem itself, for what its features need of it.
template <bool kHasFeatures>
struct FeatureArguments {};
template <>
struct FeatureArguments<true> {
  AttentionProblem problem;
};

// Where the log-sum-exp of rows goes: a contiguous tensor of [batch][heads][rows].
struct LseTensor {
  float *data;
  int heads, rows;

  EVOFLASH_ANYWHERE float *from(int bidb, int bidh, int row) const {
    return data + (int64_t(bidb) * heads + bidh) * rows + row;
  }
};

EVOFLASH_ANYWHERE LseTensor lse_of(const AttentionProblem &problem) {
  return {problem.lse, problem.heads, problem.seq_q};
}

// Of a kernel's arguments.
template <bool kStoresLse>
struct LseArguments {};
template <>
struct LseArguments<true> {
  LseTensor lse;
};

// Whether a row may see no key at all.
template <class Config>
constexpr bool kHasBlindRows =
    Config::kIsBanded || Config::kIsBiased || Config::kIsMasked || Config::kHasLengths || Config::kIsPacked;

#ifndef EVOFLASH_DEVICE_ONLY
// Whether a problem is one that the kernel was rendered for, with sizes that mean something.
template <class Config>
inline bool matches(const AttentionProblem &problem, int head_dim, int value_dim) {
  if (problem.head_dim != head_dim || problem.value_dim != value_dim) return false;
  if ((problem.banded != 0) != Config::kIsBanded) return false;
  if (!Config::kIsBanded && (problem.causal != 0) != Config::kIsCausal) return false;
  if ((problem.softcap != 0) != Config::kIsCapped || (problem.bias != nullptr) != Config::kIsBiased) return false;
  if ((problem.mask != nullptr) != Config::kIsMasked || (problem.slopes != nullptr) != Config::kHasSlopes) return false;
  if ((problem.sinks != nullptr) != Config::kHasSinks) return false;
  if ((problem.lengths != nullptr) != Config::kHasLengths) return false;
  if ((problem.q_starts != nullptr) != Config::kIsPacked || (problem.k_starts != nullptr) != Config::kIsPacked)
    return false;
  if ((problem.lse != nullptr) != Config::kStoresLse) return false;
  if ((problem.block_table != nullptr ? problem.page_size : 0) != Config::kPageSize) return false;
  if ((problem.k_scales != nullptr) != Config::kIsQuantized) return false;
  if ((problem.v_scales != nullptr) != Config::kIsQuantized) return false;
  return problem.kv_heads > 0 && problem.heads % problem.kv_heads == 0 && problem.seq_kv > 0;
}

// The same for a kernel without features.
template <bool kCausal>
struct Plain : NoFeatures {
  static constexpr bool kIsCausal = kCausal;
};

inline bool matches(const AttentionProblem &problem, int head_dim, bool causal) {
  return causal ? matches<Plain<true>>(problem, head_dim, head_dim)
                : matches<Plain<false>>(problem, head_dim, head_dim);
}
#endif

// The problem as a sequence has it: with its own number of keys, and its last row at the last of them. A packed one has
// its own rows, too, and begins where those before it end.
template <class Config>
EVOFLASH_ANYWHERE decltype(auto) sequence_of(const AttentionProblem &problem, int bidb) {
  if constexpr (Config::kHasLengths) {
    AttentionProblem own = problem;
    own.seq_kv = problem.lengths[bidb];
    own.diagonal = own.seq_kv - problem.seq_q;
    return own;
  } else if constexpr (Config::kIsPacked) {
    using Element = typename Config::Element;
    AttentionProblem own = problem;
    const int64_t row = problem.q_starts[bidb], key = problem.k_starts[bidb];
    own.seq_q = int(problem.q_starts[bidb + 1] - row);
    own.seq_kv = int(problem.k_starts[bidb + 1] - key);
    own.diagonal = own.seq_kv - own.seq_q;
    own.q = static_cast<const Element *>(problem.q) + row * problem.q_stride[2];
    own.k = static_cast<const Element *>(problem.k) + key * problem.k_stride[2];
    own.v = static_cast<const Element *>(problem.v) + key * problem.v_stride[2];
    own.out = static_cast<Element *>(problem.out) + row * problem.out_stride[2];
    return own;
  } else {
    return (problem);
  }
}

// Where a key's row begins in the head of k or v, given the strides of these, in elements.
template <class Config>
EVOFLASH_ANYWHERE int64_t row_offset(const AttentionProblem &problem, const int64_t (&stride)[3], int bidb, int key) {
  if constexpr (Config::kPageSize > 0) {
    const int page = problem.block_table[bidb * problem.table_stride + key / Config::kPageSize];
    return page * stride[0] + key % Config::kPageSize * stride[2];
  } else {
    return key * stride[2];
  }
}

// The keys that a row sees, but for those that a mask hides: from first_key to end_key - 1, which may be none.
template <class Config>
EVOFLASH_ANYWHERE int first_key(const AttentionProblem &problem, int row) {
  if constexpr (Config::kIsBanded) {
    const int64_t first = int64_t(row) + problem.diagonal - problem.window_left;
    return problem.window_left < 0 || first < 0 ? 0 : first < problem.seq_kv ? int(first) : problem.seq_kv;
  } else {
    return 0;
  }
}

template <class Config>
EVOFLASH_ANYWHERE int end_key(const AttentionProblem &problem, int row) {
  if constexpr (Config::kIsBanded) {
    const int64_t end = int64_t(row) + problem.diagonal + problem.window_right + 1;
    return problem.window_right < 0 || end > problem.seq_kv ? problem.seq_kv : end < 0 ? 0 : int(end);
  } else if constexpr (Config::kIsCausal) {
    return row + 1 < problem.seq_kv ? row + 1 : problem.seq_kv;
  } else {
    return problem.seq_kv;
  }
}

// Where the steps over the keys that a row and those after it see begin. Where a bias or mask is read, that is at a
// multiple of eight, so that its elements are loaded by pairs.
template <class Config>
EVOFLASH_ANYWHERE int step_begin(const AttentionProblem &problem, int row) {
  const int key = first_key<Config>(problem, row);
  return kReadsScoreTerms<Config> ? key / 8 * 8 : key;
}

}  // namespace evoflash
