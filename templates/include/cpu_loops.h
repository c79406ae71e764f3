#pragma once

// Loops that are unrolled at compile time: wholly, with a counter that is a constant, or by a constant factor.
#include <type_traits>

#include "cpu_vector.h"

namespace evoflash {

// body(0), body(1), ... up to body(kCount - 1), each number as a type: a constant expression.
template <int kCount, int kFirst = 0, class Body>
EVOFLASH_INLINE void static_for(const Body &body) {
  if constexpr (kFirst < kCount) {
    body(std::integral_constant<int, kFirst>());
    static_for<kCount, kFirst + 1>(body);
  }
}

// for (int i = 0; i < end; i += step) body(i), with kUnroll of them between two jumps. GCC's pragma does not take a
// constant of a template before GCC 14, so that each factor has a loop of its own.
template <int kUnroll, class Body>
EVOFLASH_INLINE void unrolled_for(int end, int step, const Body &body) {
  static_assert(kUnroll == 1 || kUnroll == 2 || kUnroll == 4, "add a loop for this factor");
  if constexpr (kUnroll == 1) {
#pragma GCC unroll 1
    for (int i = 0; i < end; i += step) body(i);
  } else if constexpr (kUnroll == 2) {
#pragma GCC unroll 2
    for (int i = 0; i < end; i += step) body(i);
  } else {
#pragma GCC unroll 4
    for (int i = 0; i < end; i += step) body(i);
  }
}

}  // namespace evoflash
