#pragma once

#include "fast_divmod.cuh"
#include "score_features.h"
#include "split_partials.cuh"
#include "tensors.cuh"
#include "tma.cuh"

// The kernel's parameters. What a kernel does not need takes no place: each optional part is a base class.
namespace evoflash::hopper {

struct InputArguments {
  TensorMap q, k, v;
};

template <bool kIsTmaStore>
struct OutputArguments {
  Tensor out;
};
template <>
struct OutputArguments<true> {
  TensorMap out;
};

template <bool kIsSplitKv>
struct PartialArguments {};
template <>
struct PartialArguments<true> {
  SplitPartials partials;
};

// With SplitTiles::kRest, the tiles that are not split, and where the output of the others is combined.
template <bool kSplitsRest>
struct RestArguments {};
template <>
struct RestArguments<true> {
  Tensor combined;
  int whole_tiles;
};

struct TileArguments {
  int seq_q, seq_kv;
  int num_tiles;               // of all heads, batches and splits
  FastDivmod heads, m_blocks;  // groups of heads of a batch; tiles of such a group
};

template <bool kIsSectioned>
struct SectionArguments {};
template <>
struct SectionArguments<true> {
  FastDivmod section, section_tiles;  // groups of heads that are worked on together; their tiles
};

// With TileOrder::kShortLast, the sections above are of all but the short tiles.
template <bool kIsShortLast>
struct ShortTileArguments {};
template <>
struct ShortTileArguments<true> {
  int long_tiles;  // of all heads and batches
  FastDivmod short_section, short_section_tiles;
};

template <class Traits>
struct ProblemArguments : TileArguments,
                          SectionArguments<Traits::kIsSectioned>,
                          ShortTileArguments<Traits::kIsShortLast> {
  unsigned group_inverse;  // of the heads that share keys and values
};

template <bool kIsDynamic>
struct CounterArguments {};
template <>
struct CounterArguments<true> {
  int *next_tile;  // the first that no block has drawn
};

template <class Traits>
struct Arguments : InputArguments,
                   OutputArguments<Traits::kIsTmaStore>,
                   PartialArguments<Traits::kIsSplitKv>,
                   RestArguments<Traits::kSplitsRest>,
                   ProblemArguments<Traits>,
                   CounterArguments<Traits::kIsDynamic>,
                   FeatureArguments<kHasFeatures<Traits>> {
  // The scale times log2(e), as probabilities are computed as powers of two; log2(e) alone where scores are scaled
  // before.
  float softmax_scale_log2;
};

}  // namespace evoflash::hopper
