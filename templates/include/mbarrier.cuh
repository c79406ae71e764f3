#pragma once

// Barriers that are objects in shared memory (mbarrier, sm_90), 8 bytes each, named by their address there.
//
// A phase of a barrier ends when all arrivals that it was initialised for have come, and all bytes that were announced
// to it. The next phase starts at once. A wait names a phase by its parity, which tells it only from the phases next to
// it: who waits must not be two phases behind or ahead. A new barrier is in phase 0, so a wait for parity 1, that of
// the phase before the first, returns at once. Therefore a stage of a pipeline that was never filled counts as empty.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

constexpr int kMbarrierBytes = 8;

__device__ __forceinline__ void mbarrier_init(unsigned barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// The memory may be used for anything again, another barrier included.
__device__ __forceinline__ void mbarrier_inval(unsigned barrier) {
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(barrier) : "memory");
}

// Makes new barriers visible to TMA and to the other blocks of the cluster. The thread that initialised them calls it,
// before the barrier of the block or cluster after which others use them.
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

// What this thread has read and written in shared memory comes before the end of the phase.
__device__ __forceinline__ void mbarrier_arrive(unsigned barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives, and announces the bytes of copies that complete on this barrier.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(unsigned barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Waits until the phase of this parity has ended. The hardware suspends the thread meanwhile, for a limited time.
__device__ __forceinline__ void mbarrier_wait(unsigned barrier, unsigned parity) {
  unsigned is_complete;
  do {
    asm volatile(
        "{\n"
        ".reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(is_complete)
        : "r"(barrier), "r"(parity)
        : "memory");
  } while (is_complete == 0);
}

// Arrives at the same barrier of another block of the cluster. What this thread has read comes before it. What it wrote
// need not: a release to the cluster would wait for all its writes to global memory, too.
__device__ __forceinline__ void mbarrier_arrive_remote(unsigned barrier, int rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

}  // namespace evoflash
#endif
