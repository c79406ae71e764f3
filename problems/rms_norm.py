"""Residual add and RMSNorm, whose output may be quantised to 8 bits with a scale for each row."""

from typing import NamedTuple

import torch


class Normalised(NamedTuple):
    """`total` is x + residual, the residual of the next layer."""

    out: torch.Tensor
    total: torch.Tensor


class Quantised(NamedTuple):
    """`out` times `scale` of its row is the normalised row."""

    out: torch.Tensor
    scale: torch.Tensor
    total: torch.Tensor


LARGEST = {"int8": 127.0, "fp8": 448.0}  # magnitude of a quantised element
SMALLEST = 1e-10  # magnitude that a row is scaled by: a row of zeros has a scale, too

vary = {"rows": range(1, 130), "columns": range(512, 4097, 8)}
cases = [{"rows": 1, "columns": 512}, {"rows": 5, "columns": 16384}]


def rms_norm(
    x: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, eps: float = 1e-6, quantize: str = "none"
) -> Normalised | Quantised:
    """Normalises the rows of x + residual, as it is rounded to their type, in float32."""
    total = x + residual
    wide = total.float()
    normalised = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight.float()
    if quantize == "none":
        return Normalised(normalised.to(x.dtype), total)
    scale = normalised.abs().amax(-1, keepdim=True).clamp(min=SMALLEST) / LARGEST[quantize]
    scaled = normalised / scale
    out = scaled.round().to(torch.int8) if quantize == "int8" else scaled.to(torch.float8_e4m3fn)
    return Quantised(out, scale.squeeze(-1), total)


def get_inputs(rows: int = 8192, columns: int = 8192, dtype: str = "bfloat16"):
    """Rows as they are within a transformer, and weights around 1."""
    kind = getattr(torch, dtype)
    x, residual = (torch.randn(rows, columns, dtype=kind) for _ in range(2))
    weight = (0.5 + torch.rand(columns)).to(kind)
    return x, residual, weight


def flops(rows: int, columns: int) -> int:
    """An addition, a square and its addition, and two products for each element."""
    return 5 * rows * columns
