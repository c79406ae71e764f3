/* 2^x by one instruction, subnormal results flushed to zero; 2^-inf is 0 and NaN stays NaN. exp2f would add three
 * instructions for results below 2^-126, which no softmax can notice. */
namespace evoflash {

__device__ __forceinline__ float exp2_approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace evoflash
