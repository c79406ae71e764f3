#pragma once

// What is taken of the problem: any sizes, and any strides between rows. Their elements are contiguous.
#include "dtypes.h"
#include "fused_linear.h"

#include "cpu_linear/activation.h"
#include "cpu_linear/kernel_traits.h"

namespace evoflash::cpu_linear {

// A matrix by its rows.
template <class Element>
struct Rows {
  Element *first;
  int64_t stride;

  explicit Rows(const EvoflashTensor &matrix) : first(static_cast<Element *>(matrix.data)), stride(matrix.stride[0]) {}
  EVOFLASH_INLINE_MEMBER Element *at(int64_t row, int64_t column) const { return first + row * stride + column; }
};

template <class Element>
static bool is_matrix(const EvoflashTensor &tensor, int64_t rows, int64_t columns) {
  return tensor.dtype == kDtype<Element> && tensor.rank == 2 && tensor.size[0] == rows && tensor.size[1] == columns &&
         (columns == 1 || tensor.stride[1] == 1);
}

template <class Element>
static bool is_supported(const FusedLinear &problem) {
  const int64_t m = problem.x.size[0], k = problem.x.size[1], n = problem.weight.size[0];
  const EvoflashTensor &bias = problem.bias;
  return is_matrix<Element>(problem.x, m, k) && is_matrix<Element>(problem.weight, n, k) &&
         is_matrix<Element>(problem.residual, m, n) && is_matrix<Element>(problem.out, m, n) &&
         bias.dtype == kDtype<Element> && bias.rank == 1 && bias.size[0] == n && (n == 1 || bias.stride[0] == 1);
}

// The epilogue of up to kLanes columns of a row, from their sums to memory.
template <class Traits>
EVOFLASH_INLINE void finish(typename Traits::Element *to, Floats sums, const typename Traits::Element *bias,
                            const typename Traits::Element *residual, int64_t count) {
  using Element = typename Traits::Element;
  using Vector = VectorOf<Element>;
  const int columns = count < kLanes ? int(count) : kLanes;
  const Floats biased = sums + to_floats<Element>(load_part<Vector>(bias, columns));
  const Floats result =
      activate<Traits::kActivation>(biased) + to_floats<Element>(load_part<Vector>(residual, columns));
  const Vector rounded = from_floats<Element>(result);
  memcpy(to, &rounded, columns * sizeof(Element));
}

}  // namespace evoflash::cpu_linear
