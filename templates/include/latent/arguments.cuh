#pragma once

#include "fast_divmod.cuh"
#include "score_features.h"
#include "tensors.cuh"
#include "tma.cuh"

// The kernel's parameters. What a kernel does not need takes no place: each optional part is a base class.
namespace evoflash::latent {

template <bool kIsTma>
struct KeyArguments {
  Tensor k;
};
template <>
struct KeyArguments<true> {
  TensorMap k;
};

// Partial outputs of all splits, in the workspace. The splits of a row follow each other.
template <bool kIsGridSplit>
struct PartialArguments {};
template <>
struct PartialArguments<true> {
  void *partials;  // [rows of all heads and batches][splits][kRowPieces] pieces
  void *stats;     // [rows][splits][2] floats: the row's maximum and sum
  int num_splits;
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
struct Arguments : KeyArguments<Traits::kIsTma>,
                   PartialArguments<Traits::kIsGridSplit>,
                   BandArguments<Traits::kIsBanded> {
  Tensor q, out;
  int num_rows, seq_kv;
  FastDivmod group;          // heads that share a key head
  FastDivmod num_m_blocks;   // tiles of rows
  FastDivmod num_parts;      // blocks that share the keys of a tile: splits by cluster
  float softmax_scale_log2;  // the scale times log2(e): probabilities are computed as powers of two
};

}  // namespace evoflash::latent
