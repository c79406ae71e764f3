/* What a launcher asks before it launches: a kernel answers wrongly for nothing, it refuses. */
#ifndef EVOFLASH_CHECKS_CUH
#define EVOFLASH_CHECKS_CUH

#include "attention_problem.h"
#include "score_features.h"

#ifndef EVOFLASH_DEVICE_ONLY /* a launcher is host code */

namespace evoflash {
namespace {

inline bool aligned(const void *pointer, const int64_t (&stride)[3], size_t element_bytes, size_t bytes) {
  const size_t strides = size_t(stride[0] | stride[1] | stride[2]) * element_bytes;
  return (reinterpret_cast<uintptr_t>(pointer) | strides) % bytes == 0; /* bytes is a power of two */
}

/* Every row of q and the output, and of k and v, begins on a multiple of so many bytes: vector loads and stores need
 * it. */
inline bool q_rows_aligned(const AttentionProblem &problem, size_t element_bytes, size_t bytes) {
  return aligned(problem.q, problem.q_stride, element_bytes, bytes) &&
         aligned(problem.out, problem.out_stride, element_bytes, bytes);
}
inline bool kv_rows_aligned(const AttentionProblem &problem, size_t element_bytes, size_t bytes) {
  return aligned(problem.k, problem.k_stride, element_bytes, bytes) &&
         aligned(problem.v, problem.v_stride, element_bytes, bytes);
}
inline bool rows_aligned(const AttentionProblem &problem, size_t element_bytes, size_t bytes) {
  return q_rows_aligned(problem, element_bytes, bytes) && kv_rows_aligned(problem, element_bytes, bytes);
}

/* Kernels may keep the strides between rows as int: their products with a row are then one wide multiplication. */
inline bool row_strides_fit_int(const AttentionProblem &problem) {
  const int64_t strides[] = {problem.q_stride[2], problem.k_stride[2], problem.v_stride[2], problem.out_stride[2]};
  for (const int64_t stride : strides)
    if (stride < INT32_MIN || stride > INT32_MAX) return false;
  return true;
}

/* The grid's second and third dimension end at 65535; a tensor with more heads or batches than that is refused. */
inline bool fits_grid(unsigned long long y, unsigned long long z) { return y <= 65535 && z <= 65535; }

}  // namespace
}  // namespace evoflash

#endif

#endif  // EVOFLASH_CHECKS_CUH
