#pragma once

// Copies of 16 bytes from global to shared memory. Where `pred` is false, nothing is read and zeros are written.
#ifndef EVOFLASH_HOST_ONLY
namespace evoflash {

// Asynchronous (cp.async, sm_80), past the registers and the L1 cache. The thread that issued a copy sees its bytes
// once it has waited for the copy's group; other threads do after a barrier that follows.
__device__ __forceinline__ void cp_async(void *smem, const void *gmem, bool pred) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(smem));
  const int bytes = pred ? 16 : 0;  // the rest of the 16 is filled with zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(gmem), "r"(bytes) : "memory");
}

// Closes a group: all copies since the last commit. An empty group completes at once.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most kPending of this thread's latest groups are in flight.
template <int kPending>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// The same copy through registers, for devices before sm_80.
__device__ __forceinline__ void copy_16(void *smem, const void *gmem, bool pred) {
  *static_cast<uint4 *>(smem) = pred ? *static_cast<const uint4 *>(gmem) : make_uint4(0, 0, 0, 0);
}

}  // namespace evoflash
#endif
