/* Two floats as two {{ problem.dtype }} elements in one word, the first in the low half: as fragments and memory hold them. */
namespace evoflash {

__device__ __forceinline__ unsigned pack(float low, float high) {
{% if device.arch >= 80 %}
  unsigned word;
  asm("cvt.rn.{{ "f16x2" if problem.dtype == "float16" else "bf16x2" }}.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
{% else %}
  unsigned short halves[2];
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(halves[0]) : "f"(low));
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(halves[1]) : "f"(high));
  return unsigned(halves[1]) << 16 | halves[0];
{% endif %}
}

/* Eight elements of an output row, by one 16-byte store. */
__device__ __forceinline__ void store_8(void *target, const float (&values)[8]) {
  *static_cast<uint4 *>(target) = make_uint4(pack(values[0], values[1]), pack(values[2], values[3]),
                                             pack(values[4], values[5]), pack(values[6], values[7]));
}

}  // namespace evoflash
