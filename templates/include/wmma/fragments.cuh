#pragma once

#include "numeric_types.cuh"

#ifndef EVOFLASH_HOST_ONLY
#include <mma.h>
#endif

// The fragments of wmma, all 16 x 16 x 16.
//
// Headers that use them begin with a declaration. clangd precompiles the directives at the top of a file, and what it
// precompiles of mma.h lacks the specialisations of nvcuda::wmma::fragment.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

using nvcuda::wmma::col_major;
using nvcuda::wmma::fragment;
using nvcuda::wmma::matrix_a;
using nvcuda::wmma::matrix_b;
using nvcuda::wmma::mem_row_major;
using nvcuda::wmma::row_major;

// The toolkit's type of an element, which wmma's functions want.
template <class Element>
struct Native;

template <>
struct Native<Half> {
  using Type = __half;
  __device__ __forceinline__ static Type from_int(int value) { return __int2half_rn(value); }
};

template <>
struct Native<Bfloat16> {
  using Type = __nv_bfloat16;
  __device__ __forceinline__ static Type from_int(int value) { return __int2bfloat16_rn(value); }
};

template <class Traits>
using Operand = typename Native<typename Traits::Element>::Type;

template <class Traits>
using FragmentQ = fragment<matrix_a, 16, 16, 16, Operand<Traits>, row_major>;
template <class Traits>
using FragmentP = fragment<matrix_a, 16, 16, 16, Operand<Traits>, row_major>;
template <class Traits>
using FragmentK = fragment<matrix_b, 16, 16, 16, Operand<Traits>, col_major>;  // transposed: a tile's row is a key
template <class Traits>
using FragmentV = fragment<matrix_b, 16, 16, 16, Operand<Traits>, row_major>;
using Accumulator = fragment<nvcuda::wmma::accumulator, 16, 16, 16, float>;

// Accumulators of the scores of a warp's rows and keys.
template <class Traits>
using Scores = Accumulator[Traits::kTilesM][Traits::kTilesN];

}  // namespace evoflash::wmma
#endif
