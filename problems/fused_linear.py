"""A linear layer with bias, activation and residual: activation(x @ weight.T + bias) + residual."""

import torch
import torch.nn.functional as F

# "gelu" is the exact one, x (1 + erf(x / sqrt(2))) / 2, not the approximation by tanh.
ACTIVATIONS = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu, "silu": F.silu}


def fused_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, residual: torch.Tensor, activation: str = "gelu"
) -> torch.Tensor:
    """The output (m, n) of x (m, k), weight (n, k), bias (n) and residual (m, n), all of one dtype."""
    return ACTIVATIONS[activation](F.linear(x, weight, bias)) + residual


def get_inputs(m: int = 4096, n: int = 4096, k: int = 4096, dtype: str = "bfloat16", activation: str = "gelu"):
    """Products of a variance of 1, so that every part of the activation is in use."""
    of = getattr(torch, dtype)
    x, weight = torch.randn(m, k), torch.randn(n, k) / k**0.5
    return x.to(of), weight.to(of), torch.randn(n).to(of), torch.randn(m, n).to(of), activation


def flops(m: int, n: int, k: int) -> int:
    """Those of the product."""
    return 2 * m * n * k


# Rows are what varies from call to call; the sizes of the layer are a model's own.
vary = {"m": range(1, 520)}
cases = [{"m": 1}, {"m": 17}, {"m": 200}]
layouts = ("contiguous", "strided", "unaligned")
