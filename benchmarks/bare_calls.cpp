// Calls of a kernel's launcher in a loop of C++, each with an output of its own: what a call from Python cannot beat.
//
//   g++ -std=c++20 -O2 -fPIC -shared [-DUSE_CUDA] -I templates/include -I <torch>/include bare_calls.cpp -L <torch>/lib
//       -lc10 -ltorch_cpu [-ltorch_cuda]
#include "evoflash.h"

#include <chrono>
#ifdef USE_CUDA
#include <ATen/cuda/EmptyTensor.h>
#else
#include <ATen/EmptyTensor.h>
#endif

namespace {

// By PyTorch's allocator, without its dispatcher.
at::TensorBase empty(at::IntArrayRef size, at::IntArrayRef stride, at::ScalarType dtype, int device) {
#ifdef USE_CUDA
  return at::detail::empty_strided_cuda(size, stride, dtype, at::Device(at::kCUDA, at::DeviceIndex(device)));
#else
  return at::detail::empty_strided_cpu(size, stride, dtype);
#endif
}

}  // namespace

// The launcher's code, 0 or the first failure. `out` and `workspace` are members of the problem, `dtype` is PyTorch's
// number of the output's, and `seconds` is the time of a call.
extern "C" int bare_calls(void *problem, EvoflashTensor *out, void **workspace, int (*launch)(const void *, void *),
                          size_t (*workspace_bytes)(const void *), int dtype, int device, void *stream, int count,
                          double *seconds) {
  const at::IntArrayRef size(out->size, out->rank), stride(out->stride, out->rank);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    const at::TensorBase made = empty(size, stride, at::ScalarType(dtype), device);
    at::TensorBase memory;
    if (const int64_t bytes = int64_t(workspace_bytes(problem))) memory = empty({bytes}, {1}, at::kByte, device);
    out->data = made.data_ptr();
    *workspace = memory.defined() ? memory.data_ptr() : nullptr;
    if (const int code = launch(problem, stream)) return code;
  }
  *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / count;
  return 0;
}
