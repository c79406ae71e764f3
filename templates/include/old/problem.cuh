/* Where a head's rows lie. Batch is blockIdx.z in every family. */
namespace evoflash {

/* The division costs some 40 cycles of a kernel's start: most problems need none. */
__device__ __forceinline__ int kv_head_of(const EvoflashAttention &problem, int head) {
  return problem.heads == problem.kv_heads ? head : head / (problem.heads / problem.kv_heads);
}

template <typename Scalar>
__device__ __forceinline__ Scalar *rows_of(Scalar *base, const int64_t (&stride)[3], int batch, int head) {
  return base + batch * stride[0] + head * stride[1];
}

}  // namespace evoflash
