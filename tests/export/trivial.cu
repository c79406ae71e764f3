/* Compiles and launches, and computes nothing: for the tests of the two-step build. */
#include "attention.h"

#ifndef EVOFLASH_HOST_ONLY
extern "C" __global__ void clear(float *out) { out[threadIdx.x] = 0; }
#endif

#ifndef EVOFLASH_DEVICE_ONLY
#include "launch.cuh"

extern "C" size_t evoflash_workspace_bytes(const Attention *) { return 0; }
extern "C" int evoflash_launch(const Attention *p, void *stream) {
  return evoflash::launch(EVOFLASH_KERNEL(clear), {1, 16}, stream, static_cast<float *>(p->out.data));
}
#endif
