// libcuda for launchers whose cubin is the path of an emulated kernel's library.
#include <cuda.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include <string>

#include "tensor_map.h"

extern "C" {
CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *context) { return *context = CUcontext(1), CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice) { return CUDA_SUCCESS; }
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *) { return CUDA_SUCCESS; }
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }

CUresult cuModuleLoadData(CUmodule *module, const void *path) {
  *module = CUmodule(dlopen(static_cast<const char *>(path), RTLD_NOW | RTLD_LOCAL));
  if (*module == nullptr) puts(dlerror());
  return *module == nullptr ? CUDA_ERROR_INVALID_IMAGE : CUDA_SUCCESS;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  *function = CUfunction(dlsym(module, (std::string("run_") + name).c_str()));
  return *function == nullptr ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

CUresult cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **arguments, void **) {
  using Run = int (*)(const unsigned (&grid)[3], unsigned, size_t, unsigned, void **);
  unsigned cluster = 1;
  for (unsigned i = 0; i < config->numAttrs; ++i)
    if (config->attrs[i].id == CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION) cluster = config->attrs[i].value.clusterDim.x;
  const unsigned grid[3] = {config->gridDimX, config->gridDimY, config->gridDimZ};
  return CUresult(reinterpret_cast<Run>(function)(grid, config->blockDimX, config->sharedMemBytes, cluster, arguments));
}

CUresult cuTensorMapEncodeTiled(CUtensorMap *map, CUtensorMapDataType, cuuint32_t rank, void *base,
                                const cuuint64_t *sizes, const cuuint64_t *strides, const cuuint32_t *box,
                                const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                                CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  if (rank < 2 || rank > 4) return CUDA_ERROR_INVALID_VALUE;
  for (int i = 0; i < int(rank) - 1; ++i)
    if (strides[i] % 16 != 0 || strides[i] >= 1ull << 40) return CUDA_ERROR_INVALID_VALUE;
  const int swizzle_bytes = swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? 128 : swizzle == CU_TENSOR_MAP_SWIZZLE_64B ? 64 : 0;
  EmulatedTensorMap made{static_cast<unsigned char *>(base), {}, {}, {}, swizzle_bytes};
  for (int i = 0; i < int(rank); ++i) made.sizes[i] = sizes[i], made.box[i] = box[i];
  for (int i = 0; i < int(rank) - 1; ++i) made.strides[i] = strides[i];
  memcpy(map, &made, sizeof(made));
  return CUDA_SUCCESS;
}
}
