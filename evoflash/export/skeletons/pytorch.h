// What the operators use of PyTorch, by the same names in two forms: by its stable ABI or, with -DUSE_ATEN, by ATen.
//
// The stable ABI is complete enough from PyTorch 2.10 on. A library that was built by ATen serves the version that it
// was built for, and no other.
#pragma once
#ifdef USE_ATEN
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/transpose.h>
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
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

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
using at::transpose;

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

Tensor contiguous(const Tensor &tensor) { return tensor.contiguous(); }

Tensor call_sdpa(const Tensor &q, const Tensor &k, const Tensor &v, const std::optional<Tensor> &mask, bool causal,
                 std::optional<double> scale, bool grouped) {
  return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale, grouped);
}

// The operator `reference`, which is written in Python.
template <class... Arguments>
Tensor call_reference(const Arguments &...arguments) {
  static const auto handle = c10::Dispatcher::singleton().findSchemaOrThrow(REFERENCE, "");
  torch::jit::Stack stack{c10::IValue(arguments)...};
  handle.callBoxed(&stack);
  return stack[0].toTensor();
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

using torch::stable::contiguous;
using torch::stable::Tensor;
using torch::stable::transpose;

AtenTensorHandle handle_of(const Tensor &tensor) { return tensor.get(); }

Tensor tensor_of(AtenTensorHandle handle) { return Tensor(handle); }

Tensor call_sdpa(const Tensor &q, const Tensor &k, const Tensor &v, const std::optional<Tensor> &mask, bool causal,
                 std::optional<double> scale, bool grouped) {
  using torch::stable::detail::from;
  StableIValue stack[] = {from(q), from(k), from(v), from(mask), from(0.0), from(causal), from(scale), from(grouped)};
  check(torch_call_dispatcher("aten::scaled_dot_product_attention", "", stack, TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}

// The operator `reference`, which is written in Python.
template <class... Arguments>
Tensor call_reference(const Arguments &...arguments) {
  StableIValue stack[] = {torch::stable::detail::from(arguments)...};
  check(torch_call_dispatcher(REFERENCE, "", stack, TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
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

}  // namespace
