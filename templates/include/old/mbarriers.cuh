/* Barriers that are objects in shared memory (sm_90), 8 bytes each, named by their shared address.
 *
 * A barrier's phase ends when all arrivals that it was made for, and all bytes that copies announced, have come; the next
 * begins at once. A wait names a phase by its parity, which tells it only from the neighbouring ones: who waits must not be
 * two phases behind or ahead. A new barrier is in phase 0, so a wait for parity 1, of the phase before the first, ends at once:
 * a stage of a ring that was never filled counts as free. */
namespace evoflash {

constexpr int kMbarrierBytes = 8;

__device__ __forceinline__ void mbarrier_init(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/* The place may be used for anything again, another barrier included. */
__device__ __forceinline__ void mbarrier_end(unsigned barrier) { asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(barrier) : "memory"); }

/* By the thread that made them, before the block's (or the cluster's) barrier after which others use them: shows the new
 * barriers to the copy engine and to the other blocks of a cluster. */
__device__ __forceinline__ void mbarriers_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

/* What this thread has read or written in shared memory comes before the end of the phase. */
__device__ __forceinline__ void mbarrier_arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* One arrival that also announces the bytes of the copies that complete on this barrier. */
__device__ __forceinline__ void mbarrier_expect(unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/* Waits for the end of the phase of this parity; the hardware suspends the thread meanwhile, for a time. */
__device__ __forceinline__ void mbarrier_wait(unsigned barrier, unsigned parity) {
  unsigned over;
  do {
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "selp.u32 %0, 1, 0, over;\n"
        "}"
        : "=r"(over) : "r"(barrier), "r"(parity) : "memory");
  } while (over == 0);
}

/* Arrives at the same barrier of another block of the cluster. What this thread has read comes before; what it wrote does not
 * have to: a release to the cluster would wait for all writes to global memory, too. */
__device__ __forceinline__ void mbarrier_arrive_remote(unsigned barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(barrier), "r"(rank) : "memory");
}

}  // namespace evoflash
