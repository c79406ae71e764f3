/* One lane of a warp, chosen by the hardware (sm_90). Unlike a comparison with the lane's number it tells the compiler that one
 * lane is left, which instructions that take uniform operands would otherwise be wrapped in a loop for. */
namespace evoflash {

/* True for one lane; all lanes have to ask. */
__device__ __forceinline__ bool elected() {
  unsigned is;
  asm volatile(
      "{\n"
      ".reg .pred is;\n"
      "elect.sync _|is, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, is;\n"
      "}"
      : "=r"(is));
  return is != 0;
}

}  // namespace evoflash
