#pragma once

#include "wmma/fragments.cuh"
#include "wmma/kernel_traits.cuh"

// A block's shared memory: tiles while the keys go by, then partial outputs for the epilogue.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

// wmma needs its tiles on multiples of 32 bytes.
template <class Traits>
struct alignas(32) InputTiles {
  Operand<Traits> q[Traits::kBlockM][Traits::kPitch];
  Operand<Traits> k[Traits::kStages][Traits::kBlockN][Traits::kPitch];
  Operand<Traits> v[Traits::kStages][Traits::kBlockN][Traits::kPitch];
};

template <class Traits, SoftmaxIn = Traits::kSoftmaxIn, ProbabilitiesIn = Traits::kProbabilitiesIn>
struct Tiles;

// Of each warp the scores of its rows, and the factors by which they rescale the output.
template <class Traits>
struct Tiles<Traits, SoftmaxIn::kShared, ProbabilitiesIn::kInPlace> : InputTiles<Traits> {
  float s[Traits::kNumWarps][Traits::kWarpM][Traits::kPitchS];
  float scores_scale[Traits::kNumWarps][Traits::kWarpM];
};

template <class Traits>
struct Tiles<Traits, SoftmaxIn::kShared, ProbabilitiesIn::kApart>
    : Tiles<Traits, SoftmaxIn::kShared, ProbabilitiesIn::kInPlace> {
  Operand<Traits> p[Traits::kNumWarps][Traits::kWarpM][Traits::kPitchP];
};

// Matrices by which the layout of fragments is checked.
template <class Traits>
struct Tiles<Traits, SoftmaxIn::kFragments, ProbabilitiesIn::kApart> : InputTiles<Traits> {
  Operand<Traits> p[Traits::kNumWarps][Traits::kWarpM][Traits::kPitchP];
  float layout[16][16];
};

template <class Traits>
struct Tiles<Traits, SoftmaxIn::kFragments, ProbabilitiesIn::kRegisters> : InputTiles<Traits> {
  float layout[16][16];
  Operand<Traits> operand_layout[16][16];
};

// Of each slice of the keys.
template <class Traits>
struct Partials {
  float out[Traits::kWarpsN][Traits::kBlockM][Traits::kPitchPartial];
  float row_max[Traits::kWarpsN][Traits::kBlockM];
  float row_sum[Traits::kWarpsN][Traits::kBlockM];
};

template <class Traits>
union SharedStorage {
  Tiles<Traits> tiles;
  Partials<Traits> partials;
};

}  // namespace evoflash::wmma
#endif
