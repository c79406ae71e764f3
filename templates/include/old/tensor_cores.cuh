/* Tensor cores by mma.sync m16n8k16 ({{ problem.dtype }} operands, float32 sums), and the loads of its operands (sm_80).
 *
 * Fragments, for lane = 4 g + c: an A operand (16 x 16) is four words, at rows g and g + 8, columns 2c and 2c + 8, rows first;
 * a B operand (16 x 8) is two, at rows 2c and 2c + 8 of column g; an accumulator (16 x 8) is four floats, the columns 2c and
 * 2c + 1 of rows g and g + 8. A word is two neighbouring elements. */
namespace evoflash {

/* Four 8 x 8 matrices of halves: lane i gives the address of row i % 8 of matrix i / 8, and gets columns 2c and 2c + 1 of
 * row g of each. */
__device__ __forceinline__ void load_matrices(unsigned (&words)[4], const void *row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 { %0, %1, %2, %3 }, [%4];" : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(address) : "memory");
}

/* The same, each matrix transposed on the way: a lane gets rows 2c and 2c + 1 of column g. */
__device__ __forceinline__ void load_matrices_transposed(unsigned (&words)[4], const void *row) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 { %0, %1, %2, %3 }, [%4];" : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3]) : "r"(address) : "memory");
}
{% if device.arch >= 90 %}

/* The way back (sm_90). */
__device__ __forceinline__ void store_matrices(void *row, unsigned word0, unsigned word1, unsigned word2, unsigned word3) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], { %1, %2, %3, %4 };" ::"r"(address), "r"(word0), "r"(word1), "r"(word2), "r"(word3) : "memory");
}
{% endif %}

/* sums += a b, over 16 x 8 sums. */
__device__ __forceinline__ void multiply(float (&sums)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.{{ "f16.f16" if problem.dtype == "float16" else "bf16.bf16" }}.f32 { %0, %1, %2, %3 }, { %4, %5, %6, %7 }, { %8, %9 }, { %0, %1, %2, %3 };"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

}  // namespace evoflash
