// Calls of a kernel's launcher in a loop of C++, each with outputs of its own: what a call from Python cannot beat.
//
//   g++ -std=c++20 -O2 -fPIC -shared [-DUSE_CUDA] -I templates/include -I <torch>/include bare_calls.cpp -L <torch>/lib
//       -lc10 -ltorch_cpu [-ltorch_cuda]
#include "evoflash.h"

#include <chrono>
#include <vector>
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

// The launcher's code, 0 or the first failure. `outs` and `workspace` are members of the problem, `dtypes` are
// PyTorch's numbers of the outputs', and `seconds` is the time of a call.
extern "C" int bare_calls(void *problem, EvoflashTensor *const *outs, const int *dtypes, int outputs, void **workspace,
                          int (*launch)(const void *, void *), size_t (*workspace_bytes)(const void *), int device,
                          void *stream, int count, double *seconds) {
  std::vector<at::TensorBase> made(outputs);
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < count; ++i) {
    for (int place = 0; place < outputs; ++place) {
      EvoflashTensor &out = *outs[place];
      const at::IntArrayRef size(out.size, out.rank), stride(out.stride, out.rank);
      made[place] = empty(size, stride, at::ScalarType(dtypes[place]), device);
      out.data = made[place].data_ptr();
    }
    at::TensorBase memory;
    if (const int64_t bytes = int64_t(workspace_bytes(problem))) memory = empty({bytes}, {1}, at::kByte, device);
    *workspace = memory.defined() ? memory.data_ptr() : nullptr;
    if (const int code = launch(problem, stream)) return code;
  }
  *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / count;
  return 0;
}
