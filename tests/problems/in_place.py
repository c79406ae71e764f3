"""Functions that update their arguments, and a kernel of one of them with its mistakes."""

FUSED = '''\
"""Residual add and RMSNorm, both in place."""

import torch

mutates = ("x", "residual")


def fused(x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6) -> None:
    residual.add_(x)
    wide = residual.float()
    x.copy_(wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight)


def get_inputs(rows: int = 6, columns: int = 16, dtype: str = "float32"):
    kind = getattr(torch, dtype)
    return torch.randn(rows, columns, dtype=kind), torch.randn(rows, columns, dtype=kind), 0.5 + torch.rand(columns)


vary = {"rows": range(1, 9), "columns": [8, 16, 24]}
cases = [{"columns": 40}]
'''

CACHE = '''\
"""New keys go into a cache; returns how large they are."""

import torch

mutates = ["cache"]


def append(cache: torch.Tensor, keys: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    cache.index_copy_(0, places, keys)
    return keys.abs().amax(-1)


def get_inputs(slots: int = 64, new: int = 4, width: int = 8):
    return torch.randn(slots, width), torch.randn(new, width), torch.randperm(slots)[:new]
'''

ADAM = '''\
"""A step of Adam."""

import torch

mutates = ("weight", "mean", "square")


def adam(weight, mean, square, gradient, rate: float = 1e-3):
    mean.lerp_(gradient, 0.1)
    square.mul_(0.99).addcmul_(gradient, gradient, value=0.01)
    weight.addcdiv_(mean, square.sqrt().add_(1e-8), value=-rate)


def get_inputs(count: int = 100):
    weight, mean, gradient = (torch.randn(count) for _ in range(3))
    return weight, mean, torch.rand(count), gradient
'''

# Right without a fault; 1 leaves the residual as it was, 2 changes the weights, 3 forgets the last row, 4 counts its
# calls and skips every second, 5 keeps results by address. The environment says which, so that one build has all.
KERNEL = """
#include "fused.h"
#include <math.h>
#include <stdlib.h>
static float kept[4096];
static const void *known;
static int calls;
extern "C" size_t evoflash_workspace_bytes(const Fused *) { return 0; }
extern "C" int evoflash_launch(const Fused *problem, void *) {
  const Fused &p = *problem;
  if (p.x.dtype != EVOFLASH_FLOAT32) return EVOFLASH_UNSUPPORTED;
  const char *said = getenv("IN_PLACE_FAULT");
  const int fault = said ? atoi(said) : 0;
  const int64_t rows = p.x.size[0], columns = p.x.size[1];
  if (fault == 4 && calls++ % 2) return 0;
  const bool is_known = known == p.x.data;
  float *weight = (float *)p.weight.data;
  for (int64_t row = 0; row < rows - (fault == 3); ++row) {
    double squares = 0;
    for (int64_t i = 0; i < columns; ++i) {
      float &x = ((float *)p.x.data)[row * p.x.stride[0] + i * p.x.stride[1]];
      float &residual = ((float *)p.residual.data)[row * p.residual.stride[0] + i * p.residual.stride[1]];
      x += residual;
      if (fault != 1) residual = x;
      squares += (double)x * x;
    }
    const float scale = 1 / sqrtf((float)(squares / columns) + (float)p.eps);
    for (int64_t i = 0; i < columns; ++i) {
      float &x = ((float *)p.x.data)[row * p.x.stride[0] + i * p.x.stride[1]];
      x = x * scale * weight[i * p.weight.stride[0]];
      if (fault != 5) continue;
      float &old = kept[row * columns + i];
      if (is_known) x = old;
      old = x;
    }
  }
  if (fault == 2) weight[0] *= 2;
  known = p.x.data;
  return 0;
}
"""
