"""Adversarial attention inputs: each variant exposes a mistake that random inputs do not show."""

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
EXTREMES = (
    "infinite_key",
    "infinite_query",
    "infinite_value",
    "largest_key",
    "largest_values",
    "subnormal_values",
)
INFINITE_KEYS = ("infinite_keys_first", "infinite_keys_last", "infinite_keys")
HUGE_SCORES = ("huge_scores", "huge_negative_scores", "huge_last_scores")
INFINITE = ("infinite_key", "infinite_value", *INFINITE_KEYS)  # keys or values
LAYOUTS = ("packed", "gapped", "odd_rows")
NEIGHBOURS = ("nan_neighbours", "loud_neighbours")  # of packed sequences: every second one
HIDING = ("hidden_rows", "infinite_bias")  # of masks and biases: see `attention_scores.extra_values`
QUANTIZED = ("saturated_bytes", "subnormal_bytes", "nan_bytes", "uneven_scales", "zero_scales")  # see `quantization`
VARIANTS = (*VALUES, *LAYOUTS)

# The magnitude of "largest_values" in types with the exponents of float32: sums of thousands of such values, which
# flash attention divides by the row's sum only at the end, are still within float32. float16 has its largest number.
LARGE = 2.0**96

# Queries and keys of huge scores. Powers of two: float16's largest, and others whose products with any scale are within
# float32. Scores are about 2^31 in float16: where float32 becomes coarser than what 2^x can take.
HUGE_QUERY = 2.0**15
HUGE_KEYS = {"float16": 2.0**15, "bfloat16": 2.0**64, "float32": 2.0**64}
DIGITS = 8  # of a key's number

GAP = 8  # gaps in a "gapped" tensor are multiples of this many elements, so that rows stay aligned to 16 bytes
QUANTIZED_GAP = 16  # of 8 bits each


def with_values(
    variant: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    """q, k and v with the values of a variant; "normal", layouts, and what hides or quantises leave them unchanged.

    Args:
        dtype: the type that the values will be rounded to.
    """
    if variant in ("normal", *LAYOUTS, *HIDING, *QUANTIZED):
        return q, k, v
    if variant == "logits_x10":  # scores rounded too early
        return q * 10, k, v
    if variant == "logits_x30":  # softmax without the maximum overflows
        return q * 30, k, v
    if variant in ("outlier_first", "outlier_last"):  # a stale running maximum
        k = k.clone()
        k[:, :, 0 if variant == "outlier_first" else -1] *= 60
        return q, k, v
    if variant == "constant_rows":  # all keys have the same weight: sums must not drift
        return q, k[:, :, :1].expand_as(k).contiguous(), v
    if variant == "negative_mean":  # zero-filled keys beyond the end would win the softmax
        return q.abs() + 1, -k.abs() - 1, v
    if variant in ("nan_row", "nan_key", "nan_value"):  # fmaxf drops a NaN, which must propagate
        q, k, v = q.clone(), k.clone(), v.clone()
        chosen, column = {"nan_row": (q, 0), "nan_key": (k, 0), "nan_value": (v, 1)}[variant]
        chosen[0, 0, chosen.shape[2] // 2, column] = math.nan
        return q, k, v
    if variant == "nan_neighbours":  # a key or value of the next sequence that counts, by a weight of 0
        k, v = k.clone(), v.clone()
        k[1::2] = v[1::2] = math.nan
        return q, k, v
    if variant == "loud_neighbours":  # a key of the next sequence that is seen has most of the weight
        k = k.clone()
        k[1::2] *= 30
        return q, k, v
    if variant in EXTREMES or variant in INFINITE_KEYS:
        return _extreme(variant, q, k, v, dtype)
    if variant in HUGE_SCORES:
        return *_huge(variant, q, k, dtype), v
    raise ValueError(f"unknown variant {variant!r}")


def _extreme(
    variant: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    """The variants with infinite, huge and tiny numbers, most of them in the first head."""
    import torch

    limits = torch.finfo(dtype)
    row, key = q.shape[2] // 2, k.shape[2] // 2
    if variant in ("infinite_key", "largest_key", *INFINITE_KEYS):
        q, k = q.abs() + 0.1, k.clone()  # so that a key of -inf has a score of -inf, and weighs 0
    if variant == "infinite_key":  # 0 * inf, where a number is computed in parts of which one is 0
        k[0, 0, key] = -math.inf
        q[0, 0, row] *= -1  # the one row that has a score of inf
    elif variant == "largest_key":
        k[0, 0, key] = limits.min
    elif variant == "infinite_keys_first":  # (-inf) - (-inf), where a tile or a split has no other score
        k[0, 0, :key] = -math.inf
    elif variant == "infinite_keys_last":
        k[0, 0, key:] = -math.inf
    elif variant == "infinite_keys":  # nothing is left to attend to
        k[0, 0] = -math.inf
    elif variant == "infinite_query":
        q = q.clone()
        q[0, 0, row, 0] = math.inf
    elif variant == "infinite_value":  # three columns: inf, -inf and their sum, NaN
        v = v.clone()
        v[0, 0, key, 1] = v[0, 0, key, 3] = math.inf
        v[0, 0, key, 2] = v[0, 0, key - 1, 3] = -math.inf
    elif variant == "largest_values":  # partial outputs that are not divided yet overflow in float16
        v = v.sign() * min(limits.max, LARGE)
    elif variant == "subnormal_values":  # flushed to zero where float16 must not be; and keys of -0
        v = v * (limits.tiny / 4)
        k = k.clone()
        k[:, :, ::3] = -0.0
    return q, k, v


def _huge(variant: str, q: torch.Tensor, k: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """q and k with scores that are exact in float32 in any order of summation.

    The columns of a key are the binary digits of its number, modulo 2^DIGITS, as -1 and 1, again and again; those of a
    query are their place values, with random signs. So the scores of different numbers differ, by far more than a
    softmax can show: all of a row's weight is on one key, or evenly on those of the same number.
    """
    import torch

    digits = min(DIGITS, q.shape[3])
    huge, half = HUGE_KEYS[str(dtype).removeprefix("torch.")], k.shape[2] // 2
    places = torch.arange(q.shape[3]) % digits
    columns = 1.0 - 2 * (torch.arange(k.shape[2])[:, None] >> (digits - 1 - places) & 1)
    signs = q[..., places].sign()
    if variant == "huge_negative_scores":  # growing with the number
        columns, signs = 0.25 * columns + 0.75, -torch.ones_like(signs)
    keys = huge * columns.expand_as(k).clone()
    if variant == "huge_last_scores":  # after ordinary ones
        keys[:, :, :half] = k[:, :, :half] / HUGE_QUERY
    return HUGE_QUERY * signs * 0.5**places, keys


def with_latent_values(
    variant: str, q: torch.Tensor, k: torch.Tensor, value_dim: int, dtype: torch.dtype
) -> tuple[torch.Tensor, ...]:
    """q and k with the values of a variant, where the first `value_dim` columns of k are the values.

    Keys are -inf or huge in their other columns alone, as 0 * inf would hide what a kernel makes of such scores. Where
    values are large or tiny, only the other columns count in the scores.
    """
    import torch

    rotary = k[..., value_dim:]
    if rotary.shape[3] > 0 and variant in ("infinite_key", *INFINITE_KEYS):
        q, rotary, _ = with_values(variant, q, rotary, k, dtype)
        return q, torch.cat([k[..., :value_dim], rotary], dim=3)
    if rotary.shape[3] > 0 and variant in HUGE_SCORES:
        columns, rotary = _huge(variant, q[..., value_dim:], rotary, dtype)
        q = torch.cat([torch.zeros_like(q[..., :value_dim]), columns], dim=3)
        return q, torch.cat([k[..., :value_dim], rotary], dim=3)
    if variant in ("largest_values", "subnormal_values"):
        q = q.clone()
        q[..., :value_dim] = 0.0
    q, k, v = with_values(variant, q, k, k[..., :value_dim].clone(), dtype)
    if variant in ("nan_value", "infinite_value", "largest_values", "subnormal_values"):
        k = torch.cat([v, k[..., value_dim:]], dim=3)
    return q, k


def with_layout(variant: str, q: torch.Tensor, k: torch.Tensor, *v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The same values in the memory layout of a variant; the last stride is always 1. There may be no v."""
    import torch

    if variant == "packed":  # heads next to each other in a row, as after a projection; k and v share a tensor
        q = q.transpose(1, 2).contiguous().transpose(1, 2)
        heads, sizes = k.shape[1], [each.shape[3] for each in (k, *v)]
        rows = torch.cat([each.transpose(1, 2).flatten(2) for each in (k, *v)], dim=2)
        parts = rows.split([heads * size for size in sizes], dim=2)
        return q, *(part.unflatten(2, (heads, size)).transpose(1, 2) for part, size in zip(parts, sizes, strict=True))
    if variant in ("gapped", "odd_rows"):  # gaps after rows, heads and batches, of a different width in each tensor
        made = []
        for number, tensor in enumerate((q, k, *v), start=1):
            gap = 1 if variant == "odd_rows" else QUANTIZED_GAP if tensor.itemsize == 1 else GAP
            made.append(_gapped(tensor, gap * number, gap))
        return tuple(made)
    return q, k, *v


def _gapped(tensor: torch.Tensor, row_gap: int, head_gap: int) -> torch.Tensor:
    import torch

    _, heads, rows, width = tensor.shape
    row = width + row_gap
    head = rows * row + head_gap
    strides = (heads * head + 2 * head_gap, head, row, 1)
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device).copy_(tensor)
