"""Attention inputs on which wrong kernels show: each variant is a mistake that plain random inputs hide."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VARIANTS = (
    "logits_x10",
    "logits_x30",
    "outlier_first",
    "outlier_last",
    "constant_rows",
    "negative_mean",
    "nan_row",
    "packed",
)


def inputs(variant: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """q, k and v of a variant, made from random ones; "normal" and "packed" (which changes strides only) leave them."""
    if variant in ("normal", "packed"):
        return q, k, v
    if variant == "logits_x10":  # scores rounded too early
        return q * 10, k, v
    if variant == "logits_x30":  # softmax without the maximum overflows
        return q * 30, k, v
    if variant in ("outlier_first", "outlier_last"):  # a stale running maximum
        k = k.clone()
        k[:, :, 0 if variant == "outlier_first" else -1] *= 20
        return q, k, v
    if variant == "constant_rows":  # every key weighs the same: sums must not drift
        return q, k[:, :, :1].expand_as(k).contiguous(), v
    if variant == "negative_mean":  # zero-filled keys beyond the end would win the softmax
        return q.abs() + 1, -k.abs() - 1, v
    if variant == "nan_row":  # fmaxf drops a NaN; it must come out of its row, and of no other
        q = q.clone()
        q[0, 0, q.shape[2] // 2, 0] = math.nan
        return q, k, v
    raise ValueError(f"unknown variant {variant!r}")
