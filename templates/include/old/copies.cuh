/* Copies of 16 bytes from global to shared memory. `inside` false leaves zeros, and reads nothing. */
namespace evoflash {

{% if async_copies %}
/* In the background (cp.async), past the registers and the L1 cache. A copy is seen by the thread that made it once it has
 * waited for the copy's group, and by others after a barrier that follows. */
__device__ __forceinline__ void copy_16(void *shared, const void *global, bool inside) {
  const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  const int bytes = inside ? 16 : 0; /* the rest of the 16 is filled with zeros */
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(bytes) : "memory");
}

/* Closes a group: the copies since the one before. An empty group is complete at once, so that counts stay the same. */
__device__ __forceinline__ void copies_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Waits until at most kPending of this thread's latest groups are under way. */
template <int kPending>
__device__ __forceinline__ void copies_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}
{% else %}
__device__ __forceinline__ void copy_16(void *shared, const void *global, bool inside) {
  *static_cast<uint4 *>(shared) = inside ? *static_cast<const uint4 *>(global) : make_uint4(0, 0, 0, 0);
}
{% endif %}

}  // namespace evoflash
