#pragma once

#include "fast_divmod.cuh"
#include "score_features.h"
#include "tensors.cuh"
#include "tma.cuh"

// The kernel's parameters. What a kernel does not need takes no place: each optional part is a base class.
namespace evoflash::decode {

template <bool kIsTma>
struct KvArguments {
  Tensor k, v;
};
template <>
struct KvArguments<true> {
  TensorMap k, v;
};

// Partial outputs of all splits, in the workspace. The splits of a row follow each other.
template <bool kIsGridSplit>
struct PartialArguments {};
template <>
struct PartialArguments<true> {
  float *partials;  // [rows of all heads and batches][splits][kHeadDim]; or of shares, see shares.cuh
  float *stats;     // [rows][splits][2]: the row's maximum and sum
  int num_splits;
};

// How many keys each sequence has.
template <bool kHasLengths>
struct LengthArguments {};
template <>
struct LengthArguments<true> {
  const int32_t *lengths;
};

// The tiles of rows of a head over all sequences, whose keys are shared out (see shares.cuh).
template <bool kIsShared>
struct ShareArguments {};
template <>
struct ShareArguments<true> {
  int num_tiles, num_shares, kv_heads;
};

template <bool kIsPaged>
struct PageArguments {};
template <>
struct PageArguments<true> {
  const int32_t *block_table;
  int64_t table_stride;
};

// What the keys and values of each head are multiplied by.
template <bool kIsQuantized>
struct ScaleArguments {};
template <>
struct ScaleArguments<true> {
  const float *k_scales, *v_scales;
};

// The problem itself, for the window of its rows.
template <bool kIsBanded>
struct BandArguments {};
template <>
struct BandArguments<true> {
  AttentionProblem problem;
};

// A row is a query token and a head of a group: row = token * group + head.
template <class Traits>
struct Arguments : KvArguments<Traits::kIsTma>,
                   PartialArguments<Traits::kIsGridSplit>,
                   LengthArguments<Traits::kHasLengths>,
                   ShareArguments<Traits::kIsShared>,
                   PageArguments<Traits::kIsPaged>,
                   ScaleArguments<Traits::kIsQuantized>,
                   BandArguments<Traits::kIsBanded>,
                   LseArguments<Traits::kStoresLse> {
  Tensor q, out;
  int num_rows, seq_kv;
  FastDivmod group;          // heads that share a key-value head
  FastDivmod num_m_blocks;   // tiles of rows
  FastDivmod num_parts;      // blocks that share the keys of a tile: splits by cluster
  float softmax_scale_log2;  // the scale times log2(e): probabilities are computed as powers of two
};

}  // namespace evoflash::decode
