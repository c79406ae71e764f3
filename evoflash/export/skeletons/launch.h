// Starting one kernel of a package: its workspace, the stream or the threads, and its answer.
#pragma once
#include <optional>

#include "pytorch.h"

struct Range {
  int64_t first, last;
};

// The functions of a kernel, whose struct is `Problem`.
template <class Problem>
struct Launcher {
  size_t (*workspace_bytes)(const Problem *);
  int (*launch)(const Problem *, void *stream);
  void (*set_num_threads)(int);  // of its OpenMP runtime, which need not be PyTorch's; null without one
};

namespace {

constexpr int kLauncherDeclines = -1;  // a launcher's answer to what it does not compute; it has written nothing then

bool within(const Range &range, int64_t value) { return range.first <= value && value <= range.last; }

// Whether the machine code is for a device, given a bit for each.
bool runs_on(uint64_t devices, int32_t index) { return index <= 63 && devices >> (index < 0 ? 0 : index) & 1; }

// Starts a kernel, and returns its code. The caller has set the device and allocated the outputs.
//
// workspace: the member of the struct that is to point to one.
template <class Problem>
int start(const Launcher<Problem> &kernel, Problem &problem, void *&workspace, int32_t device_type,
          int32_t device_index) {
  std::optional<Tensor> memory;  // freed at the end: the allocator keeps it for its stream's work
  if (const int64_t bytes = int64_t(kernel.workspace_bytes(&problem))) {
    const int64_t stride = 1;
    memory = empty(1, &bytes, &stride, aoti_torch_dtype_uint8(), device_type, device_index);
    workspace = memory->data_ptr();
  }
  void *stream = nullptr;
#ifdef USE_CUDA
  check(aoti_torch_get_current_cuda_stream(device_index, &stream));
#else
  if (kernel.set_num_threads != nullptr) kernel.set_num_threads(num_threads());
#endif
  return kernel.launch(&problem, stream);
}

}  // namespace
