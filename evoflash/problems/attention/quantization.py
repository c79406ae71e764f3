"""Keys and values of 8 bits, and the scales by which they are multiplied.

float8_e4m3fn (arXiv:2209.05433) has a sign, four bits of exponent and three of mantissa: the largest number is 448, the
smallest 2^-9, and there is no infinity. Each key-value head has a scale, so that its largest number is 448.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoflash.problems.attention.tensors import AttentionTensors
from evoflash.problems.base import Inputs

if TYPE_CHECKING:
    import torch

LARGEST = 448.0
SMALLEST = 2.0**-9
SUBNORMAL = 7 * SMALLEST  # the largest of them
NAN_BYTE = 0x7F
NEGATIVE_NAN_BYTE = 0xFF

UNEVEN = 16.0  # between the scales of two neighbouring heads


def quantized(variant: str, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Keys and values (batch, kv_heads, keys, size) as bytes, and the scales (kv_heads,) of both.

    Numbers are rounded after the division by amax / 448. Variants (see `adversaries.QUANTIZED`) change what the bytes
    are: "saturated_bytes" are all 448 or -448, "subnormal_bytes" have no exponent, "nan_bytes" are negative NaNs in a
    key of the first and a value of the last head. Others change scales: those of "uneven_scales" differ from head to
    head, and of "zero_scales" that of the last head's keys and of the first head's values is 0.
    """
    (keys, k_scales), (values, v_scales) = (_quantized(variant, tensor) for tensor in (k, v))
    if variant == "nan_bytes":
        keys[0, 0, keys.shape[2] // 2, 0] = NEGATIVE_NAN_BYTE
        values[0, -1, values.shape[2] // 2, 1] = NEGATIVE_NAN_BYTE
    elif variant == "zero_scales":
        k_scales[-1] = v_scales[0] = 0.0
    return keys, values, k_scales, v_scales


def dequantized(problem: AttentionTensors, inputs: Inputs, dtype: torch.dtype) -> tuple[AttentionTensors, Inputs]:
    """The same problem with keys and values of a wider type, and its inputs; float64 has the products exactly."""
    import torch

    extras = dict(problem.extras(inputs))
    wide = torch.promote_types(dtype, torch.float32)
    q, *kv = inputs[: problem.leading_inputs]
    scales = (extras.pop(name).to(wide) for name in ("k_scales", "v_scales"))
    shape = (-1, 1) if problem.page_size is not None else (-1, 1, 1)  # heads lie behind the keys of a page
    made = ((each.float().to(wide) * scale.view(shape)).to(dtype) for each, scale in zip(kv, scales, strict=True))
    return problem.model_copy(update={"kv_dtype": None}), (q, *made, *extras.values())


def _quantized(variant: str, tensor: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    if variant == "uneven_scales":
        tensor = tensor * UNEVEN ** -(torch.arange(tensor.shape[1]) % 2).view(-1, 1, 1)
    largest = SUBNORMAL if variant == "subnormal_bytes" else LARGEST
    scales = tensor.nan_to_num().abs().amax(dim=(0, 2, 3)) / largest
    divided = tensor / scales.where(scales > 0, torch.ones_like(scales)).view(-1, 1, 1)
    if variant == "saturated_bytes":
        divided = divided.sign() * LARGEST
    return divided.clamp(-largest, largest).to(torch.float8_e4m3fn).view(torch.uint8), scales
