"""Values and layouts of inputs that expose mistakes which random inputs do not show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LARGE = 2.0**5
TINY = 2.0**-9
GAP_BYTES = 64  # after a row of a strided tensor, whose rows stay as aligned as they were


def changed(tensors: Sequence[torch.Tensor], variant: str) -> list[torch.Tensor]:
    """The tensors with the values of a variant; integers and booleans stay, as they may be indices.

    Floating-point numbers of 8 bits are never scaled and never infinite: they have no room for it.

    "large" and "tiny" scale all floating-point tensors, where a kernel overflows or loses a small term. In "constant"
    the elements of a tensor are equal, so that sums must not drift. "infinite" has an inf and, in another place, a -inf
    in each tensor, "nan" a NaN in the first.
    """
    made = []
    for number, tensor in enumerate(tensors):
        is_narrow = tensor.element_size() == 1 and variant in ("large", "tiny", "infinite")
        if not tensor.is_floating_point() or not tensor.numel() or is_narrow:
            made.append(tensor)
        elif variant in ("large", "tiny"):
            made.append(tensor * (LARGE if variant == "large" else TINY))
        elif variant == "constant":
            made.append(tensor.flatten()[0].expand(tensor.shape).clone())
        elif variant == "infinite" or (variant == "nan" and number == 0):
            made.append(_with_extreme(tensor, variant, number))
        else:
            made.append(tensor)
    return made


def _with_extreme(tensor: torch.Tensor, variant: str, number: int) -> torch.Tensor:
    """Each tensor has them in places of its own."""
    tensor = tensor.contiguous().clone()
    flat, count = tensor.view(-1), tensor.numel()
    if variant == "nan":
        flat[count // 2] = math.nan
        return tensor
    flat[(2 * number + 1) * count // 17 % count] = math.inf
    flat[(2 * number + 4) * count // 13 % count] = -math.inf
    return tensor


def placed(tensor: torch.Tensor, variant: str, device: str) -> torch.Tensor:
    """The tensor on a device, in the memory layout of a variant.

    "strided" leaves gaps between the rows of tensors with more than one dimension, "unaligned" begins one element after
    an aligned address; others have the strides that the file gave them.
    """
    import torch

    if variant == "strided" and tensor.dim() > 1 and tensor.numel():
        row = tensor.shape[-1] + GAP_BYTES // tensor.element_size()
        strides, step = [1], row
        for size in reversed(tensor.shape[1:-1]):
            strides.insert(0, step)
            step *= size
        made = torch.empty_strided(tensor.shape, (step, *strides), dtype=tensor.dtype, device=device)
        return made.copy_(tensor)
    if variant == "unaligned" and tensor.numel():
        tensor = tensor.contiguous()
        buffer = torch.empty(tensor.numel() + 1, dtype=tensor.dtype, device=device)
        return buffer[1:].view(tensor.shape).copy_(tensor)
    return tensor.to(device)
