// Calls of a kernel's launcher in a loop of C++, each with an output of its own: what a call from Python cannot beat.
//
//   g++ -std=c++20 -O2 -fPIC -shared [-DUSE_CUDA] -I templates/include -I <torch>/include bare_calls.cpp -L <torch>/lib
//       -lc10 -ltorch_cpu [-ltorch_cuda]
#include "attention.h"

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

// The launcher's code, 0 or the first failure. `seconds` is the time of a call; `dtype` is PyTorch's number of it.
extern "C" int bare_calls(EvoflashAttention *problem, int (*launch)(const EvoflashAttention *, void *),
                          size_t (*workspace_bytes)(const EvoflashAttention *), int dtype, int device, void *stream,
                          int count, double *seconds) {
  const int64_t size[] = {problem->batch, problem->heads, problem->seq_q, problem->head_dim};
  const int64_t stride[] = {problem->out_stride[0], problem->out_stride[1], problem->out_stride[2], 1};
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    const at::TensorBase out = empty(size, stride, at::ScalarType(dtype), device);
    at::TensorBase workspace;
    if (const int64_t bytes = int64_t(workspace_bytes(problem))) workspace = empty({bytes}, {1}, at::kByte, device);
    problem->out = out.data_ptr();
    problem->workspace = workspace.defined() ? workspace.data_ptr() : nullptr;
    if (const int code = launch(problem, stream)) return code;
  }
  *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / count;
  return 0;
}
