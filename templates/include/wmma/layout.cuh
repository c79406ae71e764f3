#pragma once

// See fragments.cuh.
namespace evoflash::wmma {}

#include "numeric_types.cuh"
#include "pairs.cuh"
#include "wmma/fragments.cuh"
#include "wmma/storage.cuh"

// wmma leaves the layout of fragments open. Either a kernel relies on the layout that sm_80 and later have, and checks
// it, or it asks: row numbers, loaded as a fragment, tell each lane in which rows its elements lie.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash::wmma {

// The layout of an accumulator that is relied on: a lane's element i lies in row lane / 4 + 8 * half_of(i), and in
// column column_of(i).
__device__ __forceinline__ int half_of(int i) { return i / 2 % 2; }
__device__ __forceinline__ int column_of(int i) { return threadIdx.x % 4 * 2 + i % 2 + i / 4 * 8; }

// The elements of an accumulator, converted in their order, are those of an operand. Where operands hold each element
// twice (float16), the second copies follow the first.
template <class Traits>
__device__ __forceinline__ void to_operand(const Accumulator &source, FragmentP<Traits> &target) {
  unsigned *words = reinterpret_cast<unsigned *>(target.x);
#pragma unroll
  for (int i = 0; i < target.num_elements / 2; ++i)
    words[i] = pack<typename Traits::Element>(source.x[i % 4 * 2], source.x[i % 4 * 2 + 1]);
}

template <class Traits>
__device__ __forceinline__ void write_layout(Tiles<Traits> &tiles) {
  for (int i = threadIdx.x; i < 256; i += Traits::kNumThreads) {
    tiles.layout[i / 16][i % 16] = i;
    if constexpr (Traits::kIsPInRegs)
      tiles.operand_layout[i / 16][i % 16] = Native<typename Traits::Element>::from_int(i);  // exact up to 255
  }
}

// Traps if fragments are laid out otherwise.
template <class Traits>
__device__ __forceinline__ void check_layout(const Tiles<Traits> &tiles) {
  Accumulator found;
  load_matrix_sync(found, &tiles.layout[0][0], 16, mem_row_major);
  bool expected = found.num_elements == 8;
#pragma unroll
  for (int i = 0; i < 8; ++i) expected &= found.x[i] == (threadIdx.x % 32 / 4 + 8 * half_of(i)) * 16 + column_of(i);
  if constexpr (Traits::kIsPInRegs) {
    FragmentP<Traits> loaded, converted;
    load_matrix_sync(loaded, &tiles.operand_layout[0][0], 16);
    to_operand<Traits>(found, converted);
#pragma unroll
    for (int i = 0; i < loaded.num_elements / 2; ++i)
      expected &= reinterpret_cast<unsigned *>(loaded.x)[i] == reinterpret_cast<unsigned *>(converted.x)[i];
  }
  if (!expected) __trap();
}

// The row of each of a lane's elements of an accumulator. The warp's place for scores, `s`, serves as the matrix.
template <class Traits>
__device__ __forceinline__ void find_rows(int (&element_row)[8], float (*s)[Traits::kPitchS]) {
  for (int i = threadIdx.x % 32; i < 256; i += 32) s[i / 16][i % 16] = i / 16;
  __syncwarp();
  Accumulator rows;
  load_matrix_sync(rows, &s[0][0], Traits::kPitchS, mem_row_major);
#pragma unroll
  for (int i = 0; i < 8; ++i) element_row[i] = int(rows.x[i]);
}

}  // namespace evoflash::wmma
#endif
