#pragma once

// Division by a number that the launcher knows (CUTLASS's FastDivmod): a multiplication and a shift instead of some 60
// dependent instructions.
//
// With l = ceil(log2 d) and m = floor(2^32 (2^l - d) / d) + 1, n / d is (m n / 2^32 + n) / 2^l for all n below 2^31
// (Granlund and Montgomery, "Division by Invariant Integers using Multiplication", PLDI 1994).
namespace evoflash {

struct FastDivmod {
  int divisor;
  unsigned multiplier;
  int shift_right;

#ifndef EVOFLASH_HOST_ONLY
  __device__ __forceinline__ int divide(int dividend) const {
    return int((__umulhi(unsigned(dividend), multiplier) + unsigned(dividend)) >> shift_right);
  }

  // The quotient.
  __device__ __forceinline__ int divmod(int &remainder, int dividend) const {
    const int quotient = divide(dividend);
    remainder = dividend - quotient * divisor;
    return quotient;
  }
#endif
};

#ifndef EVOFLASH_DEVICE_ONLY
inline FastDivmod make_fast_divmod(int divisor) {
  int shift = 0;
  while ((1ull << shift) < unsigned(divisor)) ++shift;
  return {divisor, unsigned(((1ull << shift) - unsigned(divisor)) * (1ull << 32) / unsigned(divisor) + 1), shift};
}
#endif

}  // namespace evoflash
