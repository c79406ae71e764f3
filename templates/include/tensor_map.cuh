#pragma once

#ifndef EVOFLASH_DEVICE_ONLY
#include <dlfcn.h>

#include "cuda_driver.h"
#endif

// Tensor maps, by which TMA, the copy engine of sm_90, finds boxes of a tensor; and what TMA needs whatever a map's
// dimensions are. The launcher encodes a map and passes it by value within a __grid_constant__ parameter.
namespace evoflash {

struct alignas(128) TensorMap {
  unsigned long long opaque[16];
};

#ifndef EVOFLASH_DEVICE_ONLY
namespace {

// The driver's encoder, looked up once: nothing links against libcuda. Null for a driver that is older than Hopper.
inline cuda_driver::EncodeTiled *tensor_map_encoder() {
  static const auto found = [] {
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    return reinterpret_cast<cuda_driver::EncodeTiled *>(library ? dlsym(library, "cuTensorMapEncodeTiled") : nullptr);
  }();
  return found;
}

}  // namespace
#endif

#ifndef EVOFLASH_HOST_ONLY
__device__ __forceinline__ void prefetch_tensor_map(const TensorMap &map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

// What the L2 cache evicts first, or last, of all that it holds.
struct L2Policy {
  unsigned long long bits;
};
__device__ __forceinline__ L2Policy l2_evict_first() {
  L2Policy policy;
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy.bits));
  return policy;
}
__device__ __forceinline__ L2Policy l2_evict_last() {
  L2Policy policy;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(policy.bits));
  return policy;
}

// Orders stores to shared memory before what TMA or the tensor cores read there: each thread that has stored fences,
// then comes a barrier, then the instruction that reads (PTX ISA, "Async proxy").
__device__ __forceinline__ void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

__device__ __forceinline__ void tma_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }

// Waits until all committed stores have read shared memory, which may then be written or left.
__device__ __forceinline__ void tma_store_wait() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }

// Waits until all but the latest kPending groups of stores have read shared memory.
template <int kPending>
__device__ __forceinline__ void tma_store_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
#endif

}  // namespace evoflash
