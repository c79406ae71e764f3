"""Attention inputs on which wrong kernels show: each variant is a mistake that plain random inputs hide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VALUES = (
    "logits_x10",
    "logits_x30",
    "outlier_first",
    "outlier_last",
    "constant_rows",
    "negative_mean",
    "nan_row",
    "nan_key",
    "nan_value",
)
LAYOUTS = ("packed", "gapped", "odd_rows")
VARIANTS = (*VALUES, *LAYOUTS)

GAP = 8  # of the elements after each row of a "gapped" tensor: rows still begin on multiples of 16 bytes


def inputs(variant: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """q, k and v of a variant, made from random ones; "normal" and layouts leave the values."""
    if variant == "normal" or variant in LAYOUTS:
        return q, k, v
    if variant == "logits_x10":  # scores rounded too early
        return q * 10, k, v
    if variant == "logits_x30":  # softmax without the maximum overflows
        return q * 30, k, v
    if variant in ("outlier_first", "outlier_last"):  # a stale running maximum
        k = k.clone()
        k[:, :, 0 if variant == "outlier_first" else -1] *= 60
        return q, k, v
    if variant == "constant_rows":  # every key weighs the same: sums must not drift
        return q, k[:, :, :1].expand_as(k).contiguous(), v
    if variant == "negative_mean":  # zero-filled keys beyond the end would win the softmax
        return q.abs() + 1, -k.abs() - 1, v
    if variant in ("nan_row", "nan_key", "nan_value"):  # fmaxf drops a NaN; it must come out where it went in
        q, k, v = q.clone(), k.clone(), v.clone()
        chosen, column = {"nan_row": (q, 0), "nan_key": (k, 0), "nan_value": (v, 1)}[variant]
        chosen[0, 0, chosen.shape[2] // 2, column] = math.nan
        return q, k, v
    raise ValueError(f"unknown variant {variant!r}")


def laid_out(variant: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The same values in the memory layout of a variant; the last stride is 1 in all of them."""
    import torch

    if variant == "packed":  # heads beside each other in a row, as a projection leaves them; k and v share a tensor
        q = q.transpose(1, 2).contiguous().transpose(1, 2)
        k, v = torch.cat([k.transpose(1, 2), v.transpose(1, 2)], dim=2).transpose(1, 2).split(k.shape[1], dim=1)
        return q, k, v
    if variant in ("gapped", "odd_rows"):  # gaps after rows, heads and batches, each tensor's of another width
        gap = GAP if variant == "gapped" else 1
        return tuple(_gapped(tensor, gap * number, gap) for number, tensor in enumerate((q, k, v), start=1))
    return q, k, v


def _gapped(tensor: torch.Tensor, row_gap: int, head_gap: int) -> torch.Tensor:
    import torch

    _, heads, rows, width = tensor.shape
    row = width + row_gap
    head = rows * row + head_gap
    strides = (heads * head + 2 * head_gap, head, row, 1)
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
