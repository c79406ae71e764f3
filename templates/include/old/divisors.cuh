/* Division by a number that the launcher knows: a multiplication and a shift instead of some 60 dependent instructions.
 *
 * With l = ceil(log2 d) and m = floor(2^32 (2^l - d) / d) + 1, n / d is (m n / 2^32 + n) / 2^l for all n below 2^31 (Granlund and
 * Montgomery, "Division by invariant integers using multiplication", 1994). */
namespace evoflash {
namespace {

struct Divisor {
  int value;
  unsigned multiplier;
  int shift;
};

#ifndef EVOFLASH_DEVICE_ONLY
inline Divisor divisor_of(int value) {
  int shift = 0;
  while ((1ull << shift) < unsigned(value)) ++shift;
  return {value, unsigned(((1ull << shift) - unsigned(value)) * (1ull << 32) / unsigned(value) + 1), shift};
}
#endif

#ifndef EVOFLASH_HOST_ONLY
__device__ __forceinline__ int divided(int n, const Divisor &by) { return int((__umulhi(unsigned(n), by.multiplier) + unsigned(n)) >> by.shift); }
#endif

}  // namespace
}  // namespace evoflash
