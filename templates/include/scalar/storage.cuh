#pragma once

// A block's shared memory.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::scalar {

template <class Traits>
struct RowStorage {
  alignas(16) float q[Traits::kBlockM][Traits::kHeadDim];  // times the softmax scale
  alignas(16) float p[Traits::kBlockM][Traits::kBlockN];
  alignas(16) float partial_o[Traits::kBlockM][Traits::kKeySlices][Traits::kValueDim];
};

template <class Traits, bool kIsRowOfBlock = Traits::kIsRowOfBlock, bool kIsStaged = Traits::kIsStaged>
struct SharedStorage : RowStorage<Traits> {};

template <class Traits>
struct SharedStorage<Traits, true, false> : RowStorage<Traits> {
  alignas(16) float of_warp[Traits::kNumThreads / 32];  // for reductions over the block
};

// Rows of tiles are padded by a vector, at least by a bank, so that lanes that read neighbouring rows find them in
// different banks.
template <class Traits>
struct SharedStorage<Traits, false, true> : RowStorage<Traits> {
  alignas(16) typename Traits::KvElement k[Traits::kBlockN][Traits::kHeadDim + Traits::kPadding];
  alignas(16) typename Traits::KvElement v[Traits::kBlockN][Traits::kValueDim + Traits::kPadding];
};

}  // namespace evoflash::scalar
#endif
