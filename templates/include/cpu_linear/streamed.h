#pragma once

// Dot products along the rows of the weight as they lie in memory: for few rows, of which none would share the cost of
// packing the weight. x alone is packed, once for all.
#include "cpu_linear/packing.h"
#include "cpu_linear/problem.h"
#include "cpu_outer_product.h"

namespace evoflash::cpu_linear {

// The sums of kRows rows of x with kColumns rows of the weight, of which the last `columns` may be fewer.
template <class Traits>
static void multiply_rows(float (&totals)[Traits::kRows][kLanes], const typename Traits::RowUnit *x, int64_t x_stride,
                          const typename Traits::Element *weight, int64_t stride, int columns, int64_t k) {
  constexpr int kRows = Traits::kRows, kColumns = Traits::kColumns;
  const typename Traits::Element *rows[kColumns];
#pragma GCC unroll 16
  for (int c = 0; c < kColumns; ++c) rows[c] = weight + (c < columns ? c : columns - 1) * stride;
  Floats sums[kRows][kColumns] = {};
  const auto step = [&](int64_t term, int terms) EVOFLASH_INLINE_LAMBDA {
    typename Traits::Operand operands[kColumns];
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) {
      operands[c] = load_units<Traits>(rows[c] + term, terms);
      if constexpr (Traits::kPrefetch > 0)
        __builtin_prefetch(rows[c] + term + Traits::kPrefetch * 64 / int(sizeof(*rows[c])));
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const auto row = load<typename Traits::Operand>(x + r * x_stride + term / Traits::kUnitTerms);
#pragma GCC unroll 16
      for (int c = 0; c < kColumns; ++c) multiply_add(sums[r][c], row, operands[c]);
    }
  };
  const int64_t whole = k / Traits::kVectorTerms * Traits::kVectorTerms;
  for (int64_t term = 0; term < whole; term += Traits::kVectorTerms) step(term, Traits::kVectorTerms);
  if (whole < k) step(whole, int(k - whole));
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 16
    for (int c = 0; c < kColumns; ++c) totals[r][c] = sum_lanes(sums[r][c]);
}

// A block of columns for all rows.
template <class Traits>
static void compute_columns(const FusedLinear &problem, const typename Traits::RowUnit *packed, int64_t units,
                            int64_t column) {
  using Element = typename Traits::Element;
  const int64_t m = problem.x.size[0], k = problem.x.size[1], n = problem.weight.size[0];
  const Rows<Element> weight(problem.weight), residual(problem.residual), out(problem.out);
  const auto *bias = static_cast<const Element *>(problem.bias.data);
  const int columns = n - column < Traits::kColumns ? int(n - column) : Traits::kColumns;
  for (int64_t row = 0; row < m; row += Traits::kRows) {
    alignas(64) float totals[Traits::kRows][kLanes] = {};
    multiply_rows<Traits>(totals, packed + row * units, units, weight.at(column, 0), weight.stride, columns, k);
    for (int r = 0; r < Traits::kRows && row + r < m; ++r)
      finish<Traits>(out.at(row + r, column), load<Floats>(totals[r]), bias + column, residual.at(row + r, column),
                     columns);
  }
}

template <class Traits>
struct Streamed {
  static_assert(Traits::kColumns <= kLanes, "the columns of a block are finished as one vector");

  // Units of a packed row; a vector more than needed keeps rows off the same cache sets.
  static int64_t row_units(const FusedLinear &problem) {
    return (ceil_div(problem.x.size[1], Traits::kVectorTerms) + 1) * kLanes;
  }
  static int64_t padded_rows(const FusedLinear &problem) {
    return ceil_div(problem.x.size[0], Traits::kRows) * Traits::kRows;
  }
  static size_t workspace_bytes(const FusedLinear &problem) {
    return 64 + padded_rows(problem) * row_units(problem) * sizeof(typename Traits::RowUnit);
  }

  static void compute(const FusedLinear &problem, int threads) {
    using Element = typename Traits::Element;
    const Rows<Element> x(problem.x);
    const int64_t m = problem.x.size[0], k = problem.x.size[1], units = row_units(problem);
    const int64_t blocks = ceil_div(problem.weight.size[0], Traits::kColumns);
    auto *packed = (typename Traits::RowUnit *)(((uintptr_t)problem.workspace + 63) & ~(uintptr_t)63);
#pragma omp parallel num_threads(threads)
    {
#pragma omp for schedule(static)
      for (int64_t row = 0; row < padded_rows(problem); ++row)
        pack_x<Traits>(packed + row * units, 0, x.at(row < m ? row : 0, 0), 0, row < m, 1, int(k), int(units) - kLanes);
      if constexpr (Traits::kSchedule == Schedule::kStatic) {
#pragma omp for schedule(static)
        for (int64_t block = 0; block < blocks; ++block)
          compute_columns<Traits>(problem, packed, units, block * Traits::kColumns);
      } else {
#pragma omp for schedule(dynamic, 16)
        for (int64_t block = 0; block < blocks; ++block)
          compute_columns<Traits>(problem, packed, units, block * Traits::kColumns);
      }
    }
  }
};

}  // namespace evoflash::cpu_linear
