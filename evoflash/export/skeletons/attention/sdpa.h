// PyTorch's own attention, and what else of PyTorch only attention uses, in the two forms of pytorch.h.
#pragma once
#include "pytorch.h"
#ifdef USE_ATEN
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/transpose.h>
#endif

#include <optional>

namespace {

#ifdef USE_ATEN
using at::transpose;

Tensor contiguous(const Tensor &tensor) { return tensor.contiguous(); }

Tensor call_sdpa(const Tensor &q, const Tensor &k, const Tensor &v, const std::optional<Tensor> &mask, bool causal,
                 std::optional<double> scale, bool grouped) {
  return at::scaled_dot_product_attention(q, k, v, mask, 0.0, causal, scale, grouped);
}
#else
using torch::stable::contiguous;
using torch::stable::transpose;

Tensor call_sdpa(const Tensor &q, const Tensor &k, const Tensor &v, const std::optional<Tensor> &mask, bool causal,
                 std::optional<double> scale, bool grouped) {
  using torch::stable::detail::from;
  StableIValue stack[] = {from(q), from(k), from(v), from(mask), from(0.0), from(causal), from(scale), from(grouped)};
  check(torch_call_dispatcher("aten::scaled_dot_product_attention", "", stack, TORCH_ABI_VERSION));
  return torch::stable::detail::to<Tensor>(stack[0]);
}
#endif

}  // namespace
