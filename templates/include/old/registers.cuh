/* Registers handed from one warpgroup to another (setmaxnreg, sm_90a). A block gets an equal share for all its threads, by its
 * launch bounds; then each role, one branch of a single if, gives registers up or waits for some to be free. */
namespace evoflash {

template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

}  // namespace evoflash
