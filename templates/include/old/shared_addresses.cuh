/* Addresses within shared memory, as the instructions of the copy engine and of barriers take them: 32 bits. */
namespace evoflash {

__device__ __forceinline__ unsigned shared_address(const void *shared) { return static_cast<unsigned>(__cvta_generic_to_shared(shared)); }

}  // namespace evoflash
