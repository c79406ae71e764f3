"""Launchers: what they know of the driver, launches from many threads at once, and constants of each library."""

import ctypes
import os
import shlex
import subprocess

import pytest

from evoflash import resources
from evoflash.codegen.source import Source
from evoflash.codegen.toolchain import Toolchain
from evoflash.targets import cuda
from evoflash.targets.base import cxx

pytestmark = pytest.mark.nvcc

DECLARATIONS = """
#include <cuda.h>
#include <stddef.h>
#include "cuda_driver.h"
#include "tensor_map.cuh"

namespace ours = evoflash::cuda_driver;

#define SAME_VALUE(our, theirs) static_assert(int(ours::our) == int(theirs), #theirs)
SAME_VALUE(kInvalidValue, CUDA_ERROR_INVALID_VALUE);
SAME_VALUE(kNotFound, CUDA_ERROR_NOT_FOUND);
SAME_VALUE(kCaptureRelaxed, CU_STREAM_CAPTURE_MODE_RELAXED);
SAME_VALUE(kMaxDynamicSharedBytes, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES);
SAME_VALUE(kNonPortableClusterSizeAllowed, CU_FUNC_ATTRIBUTE_NON_PORTABLE_CLUSTER_SIZE_ALLOWED);
SAME_VALUE(kClusterDimension, CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION);
SAME_VALUE(kProgrammaticStreamSerialization, CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION);
SAME_VALUE(kUint16, CU_TENSOR_MAP_DATA_TYPE_UINT16);
SAME_VALUE(kNoInterleave, CU_TENSOR_MAP_INTERLEAVE_NONE);
SAME_VALUE(kNoSwizzle, CU_TENSOR_MAP_SWIZZLE_NONE);
SAME_VALUE(kSwizzle64B, CU_TENSOR_MAP_SWIZZLE_64B);
SAME_VALUE(kSwizzle128B, CU_TENSOR_MAP_SWIZZLE_128B);
SAME_VALUE(kPromotion256B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B);
SAME_VALUE(kZeros, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);

template <class Our, class Their>
constexpr bool same_layout = sizeof(Our) == sizeof(Their) && alignof(Our) == alignof(Their);
static_assert(same_layout<evoflash::TensorMap, CUtensorMap>);
static_assert(same_layout<ours::LaunchConfig, CUlaunchConfig>);
static_assert(same_layout<ours::LaunchAttribute, CUlaunchAttribute>);

#define SAME_PLACE(Our, our, Their, their) static_assert(offsetof(ours::Our, our) == offsetof(Their, their), #their)
SAME_PLACE(LaunchConfig, grid_x, CUlaunchConfig, gridDimX);
SAME_PLACE(LaunchConfig, grid_y, CUlaunchConfig, gridDimY);
SAME_PLACE(LaunchConfig, grid_z, CUlaunchConfig, gridDimZ);
SAME_PLACE(LaunchConfig, block_x, CUlaunchConfig, blockDimX);
SAME_PLACE(LaunchConfig, block_y, CUlaunchConfig, blockDimY);
SAME_PLACE(LaunchConfig, block_z, CUlaunchConfig, blockDimZ);
SAME_PLACE(LaunchConfig, shared_bytes, CUlaunchConfig, sharedMemBytes);
SAME_PLACE(LaunchConfig, stream, CUlaunchConfig, hStream);
SAME_PLACE(LaunchConfig, attributes, CUlaunchConfig, attrs);
SAME_PLACE(LaunchConfig, num_attributes, CUlaunchConfig, numAttrs);
SAME_PLACE(LaunchAttribute, id, CUlaunchAttribute, id);
SAME_PLACE(LaunchAttribute, value.cluster.x, CUlaunchAttribute, value.clusterDim.x);
SAME_PLACE(LaunchAttribute, value.cluster.y, CUlaunchAttribute, value.clusterDim.y);
SAME_PLACE(LaunchAttribute, value.cluster.z, CUlaunchAttribute, value.clusterDim.z);
SAME_PLACE(LaunchAttribute, value.serialization_allowed, CUlaunchAttribute,
           value.programmaticStreamSerializationAllowed);

// Parameters of the same sizes, and pointers where there are pointers.
template <class... Ours, class... Theirs>
constexpr bool same_call(int (*)(Ours...), CUresult (*)(Theirs...)) {
  if constexpr (sizeof...(Ours) != sizeof...(Theirs)) {
    return false;
  } else {
    return ((sizeof(Ours) == sizeof(Theirs) && std::is_pointer_v<Ours> == std::is_pointer_v<Theirs>) && ...);
  }
}
#define SAME_CALL(Our, their) static_assert(same_call((ours::Our *)nullptr, (decltype(&their))nullptr), #their)
SAME_CALL(Init, cuInit);
SAME_CALL(GetContext, cuCtxGetCurrent);
SAME_CALL(SetContext, cuCtxSetCurrent);
SAME_CALL(RetainPrimaryContext, cuDevicePrimaryCtxRetain);
SAME_CALL(ExchangeCaptureMode, cuThreadExchangeStreamCaptureMode);
SAME_CALL(LoadModule, cuModuleLoadData);
SAME_CALL(GetFunction, cuModuleGetFunction);
SAME_CALL(SetAttribute, cuFuncSetAttribute);
SAME_CALL(Launch, cuLaunchKernelEx);
SAME_CALL(EncodeTiled, cuTensorMapEncodeTiled);
"""

# Two threads share a context, in which a kernel's handle is that of the context. To load takes long enough to meet.
DRIVER = """
#include <atomic>
#include <cuda.h>
#include <unistd.h>
std::atomic<long> threads{0}, loads{0};
thread_local const long context = 1 + threads++ / 2;
extern "C" {
CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *current) { return *current = CUcontext(context), CUDA_SUCCESS; }
CUresult cuCtxSetCurrent(CUcontext) { return CUDA_SUCCESS; }
CUresult cuDevicePrimaryCtxRetain(CUcontext *, CUdevice) { return CUDA_SUCCESS; }
CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *) { return CUDA_SUCCESS; }
CUresult cuModuleLoadData(CUmodule *, const void *) { return usleep(1000), ++loads, CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction *function, CUmodule, const char *) {
  return *function = CUfunction(context), CUDA_SUCCESS;
}
CUresult cuFuncSetAttribute(CUfunction, CUfunction_attribute, int) { return CUDA_SUCCESS; }
CUresult cuLaunchKernelEx(const CUlaunchConfig *, CUfunction function, void **, void **) {
  return function == CUfunction(context) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}
long loaded() { return loads; }
}
"""
THREADS = """
#include <stddef.h>
#include <stdio.h>
#include <atomic>
#include <thread>
#include <vector>
#include "launch.cuh"

extern "C" long loaded();

int main() {
  std::atomic<int> failed{0}, have_launched{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 16; ++thread)
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) {
        failed += evoflash::launch(EVOFLASH_KERNEL(kernel), {1, 32}, nullptr, i) != 0;
        have_launched += i == 0;
        while (have_launched < 16) std::this_thread::yield();
      }
    });
  for (std::thread &each : threads) each.join();
  printf("%d %ld\\n", failed.load(), loaded());
}
"""

CONSTANT = """
#ifndef EVOFLASH_HOST_ONLY
extern "C" __global__ void kernel() {}
#endif
#ifndef EVOFLASH_DEVICE_ONLY
#include <stddef.h>
struct Config {
  static constexpr size_t kBytes = %d;
};
template <class Config>
struct Traits {
  static constexpr size_t kBytes = Config::kBytes;
};
inline size_t larger(const size_t &a, const size_t &b) { return a > b ? a : b; }
extern "C" size_t evoflash_workspace_bytes(const void *) { return larger(Traits<Config>::kBytes, 0); }
#endif
"""


def compiled(text: str, *options: str) -> str:
    """What the compiler says of a text on standard input."""
    folders = (cuda.toolkit() / "include", resources.shipped() / "templates" / "include")
    flags = ["-std=c++17", "-DEVOFLASH_HOST_ONLY", *(f"-I{each}" for each in folders)]
    command = [*shlex.split(cxx()), *flags, "-x", "c++", "-", "-x", "none", *options]
    return subprocess.run(command, input=text, text=True, capture_output=True, timeout=60, check=False).stderr


def test_launchers_know_the_driver_as_its_header_declares_it():
    assert compiled(DECLARATIONS, "-fsyntax-only", "-include", "type_traits") == ""


def test_threads_launch_at_once_each_in_its_context(tmp_path):
    (tmp_path / "cubin").write_bytes(b"none")
    driver, program = str(tmp_path / "libcuda.so.1"), str(tmp_path / "launches")
    assert compiled(DRIVER, "-fPIC", "-shared", "-Wl,-soname,libcuda.so.1", "-o", driver) == ""
    cubin = f'-DEVOFLASH_CUBIN="{tmp_path / "cubin"}"'
    assert compiled(THREADS, cubin, driver, "-ldl", "-pthread", "-o", program) == ""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([program], env=environment, text=True, capture_output=True, timeout=60, check=True)
    failed, loads = map(int, done.stdout.split())
    assert failed == 0
    assert 8 <= loads <= 16  # once in each context, or once by each thread


def test_each_library_has_its_own_constants(tmp_path):
    toolchain = Toolchain(cuda.of_arch("90"), tmp_path)
    builds = [toolchain.build(Source(CONSTANT % number, "cuda")) for number in (7, 9)]
    toolchain.stop()
    libraries = [ctypes.CDLL(str(each.library)) for each in builds]  # all of them are open
    assert [each.evoflash_workspace_bytes(None) for each in libraries] == [7, 9]
