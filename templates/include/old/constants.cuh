/* A loop whose counter is a constant expression, for instructions that take it as an immediate. */
namespace evoflash {

template <int kValue>
struct Constant {
  static constexpr int value = kValue;
};

template <int kCount, int kFirst = 0, typename Body>
__device__ __forceinline__ void unrolled(const Body &body) {
  if constexpr (kFirst < kCount) {
    body(Constant<kFirst>());
    unrolled<kCount, kFirst + 1>(body);
  }
}

}  // namespace evoflash
