/* 1 / x by one instruction; 1 / 0 is infinite, and NaN stays NaN. */
namespace evoflash {

__device__ __forceinline__ float reciprocal(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace evoflash
