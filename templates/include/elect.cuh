#pragma once

#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// True for one lane of the warp, chosen by the hardware (elect.sync, sm_90); all lanes have to call it. Unlike a
// comparison of the lane's number, it tells the compiler that a single lane is left. Otherwise the compiler wraps
// instructions that take uniform operands in a loop over the lanes.
__device__ __forceinline__ bool elect_one() {
  unsigned is_elected;
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "elect.sync _|p, 0xffffffff;\n"
      "selp.u32 %0, 1, 0, p;\n"
      "}"
      : "=r"(is_elected));
  return is_elected != 0;
}

}  // namespace evoflash
#endif
