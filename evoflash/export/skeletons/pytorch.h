// What the operators use of PyTorch, by the same names in two forms: by its stable ABI or, with -DUSE_ATEN, by ATen.
//
// The stable ABI is complete enough from PyTorch 2.10 on. A library that was built by ATen serves the version that it
// was built for, and no other.
#pragma once
#ifdef USE_ATEN
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <c10/core/DeviceGuard.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/library.h>
#else
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#endif

#include <cstdint>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define TEXT_OF(name) #name
#define TEXT(name) TEXT_OF(name)
#define REFERENCE TEXT(PACKAGE) "::reference"

namespace {

std::string text(const char *part) { return part; }
std::string text(int64_t number) { return std::to_string(number); }

// Raises a RuntimeError of the parts of a message where something does not hold. It is written without streams, as
// PyTorch's own check is not: where a compiler links the C++ library into this one, streams of both meet and crash.
template <class... Parts>
void require(bool holds, const Parts &...parts) {
  if (!holds) throw std::runtime_error((text(parts) + ...));
}

// PyTorch's C interface (aoti_torch_*), which both forms have, answers with a code.
void check(AOTITorchError code) {
  require(code == AOTI_TORCH_SUCCESS, "a call of PyTorch's C interface failed with code ", code);
}

#ifdef USE_ATEN
#define OPERATORS TORCH_LIBRARY_IMPL
#define OPERATOR(function) function

using at::Tensor;

// A tensor as the C interface takes it, which borrows it. A handle is a pointer to an at::Tensor.
AtenTensorHandle handle_of(const Tensor &tensor) {
  return reinterpret_cast<AtenTensorHandle>(const_cast<Tensor *>(&tensor));
}

// The tensor that the C interface gives away.
Tensor tensor_of(AtenTensorHandle handle) {
  Tensor tensor = std::move(*reinterpret_cast<Tensor *>(handle));
  check(aoti_torch_delete_tensor_object(handle));
  return tensor;
}

// The outputs of the operator `reference`, which is written in Python.
template <class... Arguments>
std::vector<Tensor> call_reference(size_t outputs, const Arguments &...arguments) {
  static const auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(REFERENCE, "");
  torch::jit::Stack stack{c10::IValue(arguments)...};
  handle.callBoxed(&stack);
  std::vector<Tensor> found;
  for (size_t i = 0; i < outputs; ++i) found.push_back(stack[i].toTensor());
  return found;
}

#ifdef USE_CUDA
struct DeviceGuard : c10::DeviceGuard {
  explicit DeviceGuard(int32_t index) : c10::DeviceGuard({c10::kCUDA, c10::DeviceIndex(index)}) {}
};
#else
int num_threads() { return at::get_num_threads(); }
#endif

#else
#define OPERATORS STABLE_TORCH_LIBRARY_IMPL
#define OPERATOR TORCH_BOX

using torch::stable::Tensor;

AtenTensorHandle handle_of(const Tensor &tensor) { return tensor.get(); }

Tensor tensor_of(AtenTensorHandle handle) { return Tensor(handle); }

// The outputs of the operator `reference`, which is written in Python.
template <class... Arguments>
std::vector<Tensor> call_reference(size_t outputs, const Arguments &...arguments) {
  std::vector<StableIValue> stack{torch::stable::detail::from(arguments)...};
  if (stack.size() < outputs) stack.resize(outputs);
  check(torch_call_dispatcher(REFERENCE, "", stack.data(), TORCH_ABI_VERSION));
  std::vector<Tensor> found;
  for (size_t i = 0; i < outputs; ++i) found.push_back(torch::stable::detail::to<Tensor>(stack[i]));
  return found;
}

#ifdef USE_CUDA
using torch::stable::accelerator::DeviceGuard;
#else
int num_threads() { return int(torch::stable::get_num_threads()); }
#endif
#endif

// Not written yet, with `dims` sizes and strides.
Tensor empty(int64_t dims, const int64_t *size, const int64_t *stride, int32_t dtype, int32_t device_type,
             int32_t device_index) {
  AtenTensorHandle handle;  // functions that take tensors go by the dispatcher, which takes 0.6 us more
  check(aoti_torch_empty_strided(dims, size, stride, dtype, device_type, device_index, &handle));
  return tensor_of(handle);
}

// What is read of a tensor, which it borrows.
struct Operand {
  int64_t dims;
  const int64_t *size, *stride;
  int32_t dtype, device_type, device_index;
  void *data;

  // Whether the elements of its last dimension, which it has, lie next to each other.
  bool has_dense_rows() const { return size[dims - 1] == 1 || stride[dims - 1] == 1; }

  bool is_empty() const {
    for (int64_t axis = 0; axis < dims; ++axis)
      if (size[axis] == 0) return true;
    return false;
  }
};

Operand operand(const Tensor &tensor) {
  Operand found{tensor.dim()};
  const AtenTensorHandle handle = handle_of(tensor);
  int64_t *size, *stride;
  check(aoti_torch_get_sizes(handle, &size));
  check(aoti_torch_get_strides(handle, &stride));
  check(aoti_torch_get_dtype(handle, &found.dtype));
  check(aoti_torch_get_device_type(handle, &found.device_type));
  check(aoti_torch_get_device_index(handle, &found.device_index));
  check(aoti_torch_get_data_ptr(handle, &found.data));
  found.size = size, found.stride = stride;
  return found;
}

}  // namespace
