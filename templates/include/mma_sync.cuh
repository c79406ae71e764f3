#pragma once

#include "numeric_types.cuh"

// Tensor cores by mma.sync m16n8k16 and m16n8k8 (16-bit operands, float32 accumulators), and the loads of operands
// (sm_80).
//
// Fragments, for lane = 4 g + c (PTX ISA, "Matrix Fragments for mma.m16n8k16"):
//   A, 16 x 16: four words, at rows g and g + 8 of columns 2c, then the same rows of columns 2c + 8.
//   B, 16 x 8: two words, at rows 2c and 2c + 8 of column g.
//   accumulator, 16 x 8: four floats, columns 2c and 2c + 1 of row g, then of row g + 8.
// A word holds two consecutive elements. m16n8k8 takes the first half of the words of A and of B.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Four 8 x 8 matrices: lane i gives the address of row i % 8 of matrix i / 8, and gets columns 2c and 2c + 1 of row g
// of each matrix.
__device__ __forceinline__ void ldmatrix_x4(unsigned (&words)[4], const void *row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 { %0, %1, %2, %3 }, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
}

// Two matrices: the addresses are those of the first 16 lanes.
__device__ __forceinline__ void ldmatrix_x2(unsigned &word0, unsigned &word1, const void *row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 { %0, %1 }, [%2];"
               : "=r"(word0), "=r"(word1)
               : "r"(address)
               : "memory");
}

// The same as ldmatrix_x4, with each matrix transposed: a lane gets rows 2c and 2c + 1 of column g.
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&words)[4], const void *row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 { %0, %1, %2, %3 }, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void ldmatrix_x2_trans(unsigned &word0, unsigned &word1, const void *row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 { %0, %1 }, [%2];"
               : "=r"(word0), "=r"(word1)
               : "r"(address)
               : "memory");
}

// An 8 x 8 matrix, two elements a lane as of ldmatrix, transposed.
__device__ __forceinline__ unsigned transpose_8x8(unsigned word) {
  unsigned transposed;
  asm("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(transposed) : "r"(word));
  return transposed;
}

// Stores what ldmatrix_x4 loads (sm_90).
__device__ __forceinline__ void stmatrix_x4(void *row, unsigned word0, unsigned word1, unsigned word2, unsigned word3) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], { %1, %2, %3, %4 };" ::"r"(address), "r"(word0),
               "r"(word1), "r"(word2), "r"(word3)
               : "memory");
}

// acc += A B.
template <class Element>
__device__ __forceinline__ void mma_m16n8k16(float (&acc)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);

template <>
__device__ __forceinline__ void mma_m16n8k16<Half>(float (&acc)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{ %0, %1, %2, %3 }, { %4, %5, %6, %7 }, { %8, %9 }, { %0, %1, %2, %3 };"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <>
__device__ __forceinline__ void mma_m16n8k16<Bfloat16>(float (&acc)[4], const unsigned (&a)[4], unsigned b0,
                                                       unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{ %0, %1, %2, %3 }, { %4, %5, %6, %7 }, { %8, %9 }, { %0, %1, %2, %3 };"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// acc += A B over half as many columns of A.
template <class Element>
__device__ __forceinline__ void mma_m16n8k8(float (&acc)[4], unsigned a0, unsigned a1, unsigned b);

template <>
__device__ __forceinline__ void mma_m16n8k8<Half>(float (&acc)[4], unsigned a0, unsigned a1, unsigned b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 { %0, %1, %2, %3 }, { %4, %5 }, { %6 }, { %0, %1, %2, %3 };"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a0), "r"(a1), "r"(b));
}

template <>
__device__ __forceinline__ void mma_m16n8k8<Bfloat16>(float (&acc)[4], unsigned a0, unsigned a1, unsigned b) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 { %0, %1, %2, %3 }, { %4, %5 }, { %6 }, { %0, %1, %2, %3 };"
      : "+f"(acc[0]), "+f"(acc[1]), "+f"(acc[2]), "+f"(acc[3])
      : "r"(a0), "r"(a1), "r"(b));
}

}  // namespace evoflash
#endif
