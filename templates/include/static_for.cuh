#pragma once

// A loop whose counter is a constant expression, for instructions that take it as an immediate.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// An integer as a type (CuTe's Int).
template <int kValue>
struct Int {
  static constexpr int value = kValue;
};

// body(Int<0>()), body(Int<1>()), ... up to body(Int<kCount - 1>()).
template <int kCount, int kFirst = 0, class Body>
__device__ __forceinline__ void static_for(const Body &body) {
  if constexpr (kFirst < kCount) {
    body(Int<kFirst>());
    static_for<kCount, kFirst + 1>(body);
  }
}

}  // namespace evoflash
#endif
