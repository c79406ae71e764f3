#pragma once

// Tiles of the output, of operands that are packed: for many rows, among which packing the weight is shared.
#include "cpu_linear/packing.h"
#include "cpu_linear/problem.h"
#include "cpu_outer_product.h"

namespace evoflash::cpu_linear {

template <class KernelTraits>
struct BlockedTraits : KernelTraits {
  static constexpr int kPanelColumns = KernelTraits::kVectors * kLanes;
  static constexpr int kBlockM = KernelTraits::kRowBlocks * KernelTraits::kRows;
  static constexpr int kBlockN = KernelTraits::kPanels * kPanelColumns;
  static constexpr int kDepthUnits = KernelTraits::kDepth / KernelTraits::kUnitTerms;  // of a block of the sum
  static_assert(kDepthUnits % kLanes == 0, "packing transposes whole squares");

  // Rows are a vector longer than needed, so that they do not all fall on the same cache sets.
  static constexpr int kXStride = kDepthUnits + kLanes;
  static constexpr int kAccStride = kBlockN + kLanes;
};

// What a thread works in.
template <class Traits>
struct Scratch {
  alignas(64) typename Traits::RowUnit x[Traits::kBlockM * Traits::kXStride];
  alignas(64) typename Traits::Unit weight[Traits::kBlockN * Traits::kDepthUnits];
  alignas(64) float acc[Traits::kBlockM * Traits::kAccStride];
};

// The sums of kRows rows and a panel of columns over one block of terms, added to those of the blocks before.
template <class Traits>
static void multiply_block(float *acc, const typename Traits::RowUnit *x, const typename Traits::Unit *panel, int units,
                           bool is_first) {
  Floats sums[Traits::kRows][Traits::kVectors] = {};
  multiply<Traits>(sums, x, Traits::kXStride, panel, Traits::kPanelColumns, units);
#pragma GCC unroll 16
  for (int r = 0; r < Traits::kRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < Traits::kVectors; ++v) {
      float *to = acc + r * Traits::kAccStride + v * kLanes;
      store(to, is_first ? sums[r][v] : load<Floats>(to) + sums[r][v]);
    }
}

template <class Traits>
static void compute_tile(const FusedLinear &problem, Scratch<Traits> &scratch, int64_t row, int64_t column) {
  using Element = typename Traits::Element;
  const int64_t m = problem.x.size[0], k = problem.x.size[1], n = problem.weight.size[0];
  const Rows<Element> x(problem.x), weight(problem.weight), residual(problem.residual), out(problem.out);
  const auto *bias = static_cast<const Element *>(problem.bias.data);
  const int rows = m - row < Traits::kBlockM ? int(m - row) : Traits::kBlockM;
  const int columns = n - column < Traits::kBlockN ? int(n - column) : Traits::kBlockN;
  const int padded_rows = int(ceil_div(rows, Traits::kRows)) * Traits::kRows;

  for (int64_t term = 0; term < k || term == 0; term += Traits::kDepth) {
    const int terms = k - term < Traits::kDepth ? int(k - term) : Traits::kDepth;
    const int units = int(ceil_div(terms, Traits::kVectorTerms)) * kLanes;
    pack_x<Traits>(scratch.x, Traits::kXStride, x.at(row, term), x.stride, rows, padded_rows, terms, units);
    for (int panel = 0; panel < columns; panel += Traits::kPanelColumns) {
      typename Traits::Unit *packed = scratch.weight + (int64_t)panel * Traits::kDepthUnits;
      pack_panel<Traits>(packed, weight.at(column + panel, term), weight.stride, columns - panel, terms, units);
      for (int r = 0; r < padded_rows; r += Traits::kRows)
        multiply_block<Traits>(scratch.acc + r * Traits::kAccStride + panel, scratch.x + r * Traits::kXStride, packed,
                               units, term == 0);
    }
  }

  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < columns; c += kLanes)
      finish<Traits>(out.at(row + r, column + c), load<Floats>(scratch.acc + r * Traits::kAccStride + c),
                     bias + column + c, residual.at(row + r, column + c), columns - c);
}

template <class KernelTraits>
struct Blocked {
  using Traits = BlockedTraits<KernelTraits>;

  static size_t workspace_bytes(const FusedLinear &) { return 64 + KernelTraits::kThreads * sizeof(Scratch<Traits>); }

  static void compute(const FusedLinear &problem, int threads) {
    const int64_t m_tiles = ceil_div(problem.x.size[0], Traits::kBlockM);
    const int64_t tiles = m_tiles * ceil_div(problem.weight.size[0], Traits::kBlockN);
    auto *scratch = (Scratch<Traits> *)(((uintptr_t)problem.workspace + 63) & ~(uintptr_t)63);
    const auto compute_at = [&](int64_t tile, int thread) {
      compute_tile<Traits>(problem, scratch[thread], tile % m_tiles * Traits::kBlockM,
                           tile / m_tiles * Traits::kBlockN);
    };
    if constexpr (KernelTraits::kSchedule == Schedule::kStatic) {
#pragma omp parallel for num_threads(threads) schedule(static)
      for (int64_t tile = 0; tile < tiles; ++tile) compute_at(tile, omp_get_thread_num());
    } else {
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
      for (int64_t tile = 0; tile < tiles; ++tile) compute_at(tile, omp_get_thread_num());
    }
  }
};

}  // namespace evoflash::cpu_linear
