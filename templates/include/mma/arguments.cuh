#pragma once

#include "attention_problem.h"
#include "score_features.h"
#include "split_partials.cuh"
#include "tensors.cuh"
#include "tma.cuh"

// The kernel's parameters. What a kernel does not need takes no place: each optional part is a base class.
namespace evoflash::mma {

template <bool kIsTma>
struct InputArguments {
  Tensor q, k, v;
};
template <>
struct InputArguments<true> {
  TensorMap q, k, v;
};

struct OutputArgument {
  Tensor out;
};

template <bool kIsSplitKv>
struct PartialArguments {};
template <>
struct PartialArguments<true> {
  SplitPartials partials;
};

template <bool kIsPersistent>
struct TileArguments {};
template <>
struct TileArguments<true> {
  int num_tiles;  // of all heads and batches
};

// Sizes that are known when the kernel is built are constants of the same names.
template <class Traits, bool kIsPersistent>
struct FixedTileCounts {};
template <class Traits>
struct FixedTileCounts<Traits, true> {
  static constexpr int num_m_blocks = (Traits::kSeqQ + Traits::kBlockM - 1) / Traits::kBlockM;
  static constexpr int num_heads = Traits::kNumHeads;
};

template <bool kIsPersistent>
struct TileCounts {};
template <>
struct TileCounts<true> {
  int num_m_blocks, num_heads;  // of a head, of a batch
};

template <class Traits, bool kHasFixedSizes>
struct SizeArguments : TileCounts<Traits::kIsPersistent> {
  int seq_q, seq_kv;
  unsigned group_inverse;  // of the heads that share keys and values
};
template <class Traits>
struct SizeArguments<Traits, true> : FixedTileCounts<Traits, Traits::kIsPersistent> {
  static constexpr int seq_q = Traits::kSeqQ, seq_kv = Traits::kSeqKv;
};

template <class Traits>
struct Arguments : InputArguments<Traits::kIsTma>,
                   OutputArgument,
                   PartialArguments<Traits::kIsSplitKv>,
                   TileArguments<Traits::kIsPersistent>,
                   SizeArguments<Traits, Traits::kHasFixedSizes>,
                   FeatureArguments<kHasFeatures<Traits>>,
                   LseArguments<Traits::kStoresLse> {
  // The scale times log2(e), as probabilities are computed as powers of two; log2(e) alone where scores are scaled
  // before.
  float softmax_scale_log2;
};

#ifndef EVOFLASH_HOST_ONLY
// The tensor from a row on.
__device__ __forceinline__ Tensor from_row(const Tensor &tensor, int row) {
  return {row_of(tensor, 0, 0, row), tensor.batch, tensor.head, tensor.row};
}

// The arguments as a sequence has them: a packed one has its own rows and keys, and begins where those before it end.
template <class Traits>
__device__ __forceinline__ decltype(auto) sequence_of(const Arguments<Traits> &args, int bidb) {
  if constexpr (Traits::kIsPacked) {
    Arguments<Traits> own = args;
    own.problem = evoflash::sequence_of<Traits>(args.problem, bidb);
    own.seq_q = own.problem.seq_q;
    own.seq_kv = own.problem.seq_kv;
    own.q = from_row(args.q, args.problem.q_starts[bidb]);
    own.k = from_row(args.k, args.problem.k_starts[bidb]);
    own.v = from_row(args.v, args.problem.k_starts[bidb]);
    own.out = from_row(args.out, args.problem.q_starts[bidb]);
    return own;
  } else {
    return (args);
  }
}
#endif

}  // namespace evoflash::mma
