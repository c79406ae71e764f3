"""The bits of tensors, as integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """An integer view of the same memory."""
    import torch

    return tensor.view({1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()])
